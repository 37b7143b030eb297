-- Remove everything about a user. Returns the number of events removed.
-- KEYS  user hash, log list, shard stream, the shard's count of deletions
-- ARGV  1 if it must write
-- The stream stays even when empty: its last id keeps those who read it incrementally from missing what comes next.
local entries = redis.call('LRANGE', KEYS[2], 0, -1)
for _, entry in ipairs(entries) do
  local _, _, item_size, id_size, start = struct.unpack('<ddHH', entry)
  redis.call('XDEL', KEYS[3], string.sub(entry, start + item_size + id_size))
end
-- Events that retention removed from here may stand in an export still, so a user without events counts as well. The
-- count follows a write that Redis never refuses (see visit.lua), so that a full instance still deletes.
if redis.call('DEL', KEYS[1], KEYS[2]) > 0 then
  redis.call('INCR', KEYS[4])
elseif ARGV[1] == '1' then
  -- Perhaps gone by a call whose acknowledgement is missing; WAIT covers what its connection wrote.
  redis.call('INCRBY', KEYS[4], 0)
end
return #entries
