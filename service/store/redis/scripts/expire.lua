-- Retention by age for one user. Returns the number of events removed.
-- KEYS  user hash, log list, shard stream, the shard's count of deletions, the user's pass
-- ARGV  the time, in milliseconds, before which an event must have arrived to be removed
-- The first write is a removal, which Redis never refuses (see visit.lua): a full instance still gets emptier.
local user, log, stream, deletions = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
if not redis.call('HGET', user, 'gen') then
  return 0
end
local number, kept = expired(log, tonumber(ARGV[1])), redis.call('LLEN', log)
if number > 0 then
  remove_oldest(user, log, stream, number)
end
-- A user without events goes with all that is left, unless that is needed to finish a merge.
if number == kept and #unsettled(user) == 0 then
  redis.call('DEL', user, log, KEYS[5])
  redis.call('INCR', deletions)
end
return number
