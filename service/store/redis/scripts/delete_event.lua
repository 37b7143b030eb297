-- Delete one event. Returns 1, or 0 if there is no such event.
--
-- KEYS  1 user hash, 2 log, 3 shard stream, 4 the shard's count of deletions,
--       5 the shard's counters of attribution
-- ARGV  1 new generation, 2 event id, 3 the sequence that a reserved id (seq-17) names, else "",
--       4 "1" if a repetition must write too (see lib/replicate.lua)
--
-- The event's sequence is not reused. Any snapshot may contain the event, so all are deleted, and the new generation
-- refuses those that are being computed now (decision 0009).
local user, log, stream, deletions = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local reserved = ARGV[3] ~= ''
local sequence = tonumber(ARGV[3])
local value = not reserved and ARGV[2] ~= '' and redis.call('HGET', user, 'e:' .. ARGV[2])
if value then
  sequence = unpack_event_id(value)
end
local entry = sequence and redis.call('LINDEX', log, index_of(log, sequence))
local found, own_id, append_id, recommendation, _
if entry then
  found, _, _, own_id, append_id, _, _, recommendation = unpack_entry(entry)
end
if not entry or found ~= sequence or (reserved and own_id ~= '') then
  if ARGV[4] == '1' then
    rewrite_counter(deletions)
  end
  return 0
end
local fields = redis.call('HMGET', user, 'head', 'v')
local newest, trimmed = unpack_head(fields[1])
local versions = unpack_versions(fields[2])
-- The first write is a removal, which Redis never refuses: a full server still deletes.
redis.call('LREM', log, 1, entry)
redis.call('INCR', deletions)
add_credit(KEYS[5], recommendation, -1)
redis.call('XDEL', stream, append_id)
redis.call('HDEL', user, 'e:' .. ARGV[2])
drop_snapshots(user, versions)
redis.call('HSET', user, 'head', pack_head(newest, trimmed, ARGV[1]))
return 1
