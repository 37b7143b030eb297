-- Remove everything about a user. Returns the number of events removed, or {source, generation, …} if merges into the
-- user must be finished first: else their events would come back with the next attempt to finish them.
-- KEYS  user hash, log list, shard stream, the shard's count of deletions, the shard's parked logs
-- ARGV  user id, 1 if it must write
-- The stream stays even when empty: its last id keeps those who read it incrementally from missing what comes next.
local first = unsettled(KEYS[1])
if #first > 0 then
  return first
end
local entries = redis.call('LRANGE', KEYS[2], 0, -1)
for _, entry in ipairs(entries) do
  local _, _, _, _, stream_id = parts(entry)
  redis.call('XDEL', KEYS[3], stream_id)
end
local removed = #entries
local parked = redis.call('HGET', KEYS[5], ARGV[1])
if parked then
  removed = removed + #cmsgpack.unpack(parked)[4]
end
-- Events that retention removed from here may stand in an export still, so a user without events counts as well. The
-- count follows a write that Redis never refuses (see visit.lua), so that a full instance still deletes.
if redis.call('DEL', KEYS[1], KEYS[2]) + redis.call('HDEL', KEYS[5], ARGV[1]) > 0 then
  redis.call('INCR', KEYS[4])
elseif ARGV[2] == '1' then
  -- Perhaps gone by a call whose acknowledgement is missing; WAIT covers what its connection wrote.
  redis.call('INCRBY', KEYS[4], 0)
end
return removed
