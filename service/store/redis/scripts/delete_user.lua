-- Remove everything about a user. Returns the number of events removed, or what must be finished first:
--   {0, source, generation, …}             merges into the user; else their events would come back with the next attempt
--   {1, target, generation, events}        the user's log that is parked for another: it has lost its events just now, or
--                                          before (0), but whoever has read it may still bring them to the target
-- KEYS  user hash, log list, shard stream, the shard's count of deletions, the shard's parked logs, the user's pass
-- ARGV  user id, 1 if it must write
-- The stream stays even when empty: its last id keeps those who read it incrementally from missing what comes next.
local first = unsettled(KEYS[1])
if #first > 0 then
  return { 0, unpack(first) }
end
local parked = redis.call('HGET', KEYS[5], ARGV[1])
if parked then
  local content = cmsgpack.unpack(parked)
  -- Beginning with a removal, which a full instance takes: see visit.lua.
  redis.call('HDEL', KEYS[5], ARGV[1])
  redis.call('HSET', KEYS[5], ARGV[1], cmsgpack.pack({ content[1], content[2], content[3], false }))
  return { 1, content[1], content[2], content[4] and #content[4] or 0 }
end
local entries = redis.call('LRANGE', KEYS[2], 0, -1)
for _, entry in ipairs(entries) do
  local _, _, _, _, stream_id = parts(entry)
  redis.call('XDEL', KEYS[3], stream_id)
end
redis.call('DEL', KEYS[6])
-- Events that retention removed from here may stand in an export still, so a user without events counts as well. The
-- count follows a write that Redis never refuses (see visit.lua), so that a full instance still deletes.
if redis.call('DEL', KEYS[1], KEYS[2]) > 0 then
  redis.call('INCR', KEYS[4])
elseif ARGV[2] == '1' then
  -- Perhaps gone by a call whose acknowledgement is missing; WAIT covers what its connection wrote.
  redis.call('INCRBY', KEYS[4], 0)
end
return #entries
