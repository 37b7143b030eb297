-- Step 7 of a merge: bring the shard's stream up to date with a part of the merged log. Returns 1 if more is left, else 0.
--
-- KEYS  1 user hash, 2 log, 3 shard stream, 4 the shard's count of deletions, 5 log that the merge replaced
-- ARGV  1 user id
--
-- From the sequence in the field `unstreamed` on, each event is added to the stream again, in the log's order, and its
-- earlier entry is removed. Then what the merge has removed from the log is removed from the stream.
local user, log, stream, replaced = KEYS[1], KEYS[2], KEYS[3], KEYS[5]
local found = redis.call('HMGET', user, 'unstreamed', 'head')
if not found[1] then
  return 0
end
local _, trimmed = unpack_head(found[2])
-- A removal comes first: Redis never refuses it for lack of memory, and then none of the other writes.
redis.call('XDEL', stream, '0-1')
redis.call('INCR', KEYS[4])
local start = index_of(log, tonumber(found[1]))
local entries, following = redis.call('LRANGE', log, start, start + PIECE - 1), found[1]
if #entries > 0 then
  local earlier = {}
  for i, entry in ipairs(entries) do
    local sequence, timestamp, item_id, event_id, append_id, arrived, typed, recommendation = unpack_entry(entry)
    local digits = string.format('%d', sequence)
    earlier[i] = append_id
    append_id = stream_event(stream, ARGV[1], digits, item_id, string.format('%.17g', timestamp), event_id, typed,
      recommendation)
    local arrived_then = tonumber(string.match(append_id, '^%d+')) == arrived
    redis.call('LSET', log, start + i - 1, pack_entry(sequence, timestamp, item_id, event_id,
      pack_end(append_id, not arrived_then and string.format('%d', arrived) or nil, typed, recommendation)))
    following = string.format('%d', sequence + 1)
  end
  redis.call('XDEL', stream, unpack(earlier))
end
if #entries == PIECE then
  redis.call('HSET', user, 'unstreamed', following)
  return 1
end
-- The replaced log's events above `trimmed` are still in the log, or were streamed above.
local removed = {}
for _, entry in ipairs(redis.call('LRANGE', replaced, 0, PIECE - 1)) do
  if sequence_of(entry) > trimmed then
    break
  end
  removed[#removed + 1] = entry
end
if #removed > 0 then
  remove_streamed(stream, removed)
  redis.call('LPOP', replaced, #removed)
end
if #removed == PIECE then
  redis.call('HSET', user, 'unstreamed', following)
  return 1
end
redis.call('UNLINK', replaced)
redis.call('HDEL', user, 'unstreamed')
return 0
