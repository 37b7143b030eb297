-- Remove one event as if it had never been. Returns 1 if there was one.
-- KEYS  user hash, log list, shard stream, the shard's count of deletions
-- ARGV  new generation, event id, sequence that the id names if it has the reserved form, else "", 1 if it must write
-- The sequence stays as it is. Every memo may reflect the event, so all of them go, and the new generation keeps
-- those out that are being computed now.
local user, log, stream, deletions = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local reserved = ARGV[3] ~= ''
local sequence = tonumber(ARGV[3])
if not reserved then
  local known = redis.call('HGET', user, 'e:' .. ARGV[2])
  sequence = known and tonumber(string.match(known, '^%d+'))
end
local entry = sequence and redis.call('LINDEX', log, position(log, sequence))
local number, own_id, stream_id, _
if entry then
  number, _, _, own_id, stream_id = parts(entry)
end
if not entry or number ~= sequence or (reserved and own_id ~= '') then
  if ARGV[4] == '1' then
    -- It may have been removed by a call whose acknowledgement is missing; WAIT covers what its connection wrote.
    redis.call('INCRBY', deletions, 0)
  end
  return 0
end
redis.call('LREM', log, 1, entry)
-- After a write that Redis never refuses (see visit.lua), so that a full instance still deletes.
redis.call('INCR', deletions)
redis.call('XDEL', stream, stream_id)
local versions = redis.call('HGET', user, 'v')
for _, version in ipairs(versions and cmsgpack.unpack(versions) or {}) do
  redis.call('HDEL', user, 'a:' .. version, 'm:' .. version)
end
redis.call('HDEL', user, 'v', 'e:' .. ARGV[2])
redis.call('HSET', user, 'gen', ARGV[1])
return 1
