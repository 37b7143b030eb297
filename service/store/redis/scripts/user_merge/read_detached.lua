-- Step 3 of a merge: read a part of a detached log, and remove its events from the shard's stream.
--
-- KEYS     1 the shard's detached logs, 2 shard stream, 3 the shard's count of deletions, 4 the detached user's hash,
--          5 its log
-- ARGV     1 user id, 2 generation of the log, 3 number of entries to skip
-- Returns  nil if this log is detached no more; else the entries and, for each, the value of its field `e:<event id>`
local value = redis.call('HGET', KEYS[1], ARGV[1])
local detached = value and unpack_detached(value)
if not detached or not detached.kept or detached.generation ~= ARGV[2] then
  return false
end
local entries, fields = read_entries(KEYS[5], tonumber(ARGV[3]))
if #entries == 0 then
  return { {}, {} }
end
if remove_streamed(KEYS[2], entries) > 0 then
  redis.call('INCR', KEYS[3])
end
return { entries, redis.call('HMGET', KEYS[4], unpack(fields)) }
