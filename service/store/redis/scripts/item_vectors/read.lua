-- Read entries of a model version's list of vectors.
--
-- KEYS     1 vectors, 2 item ids in order
-- ARGV     1 revision of the position to read after, 2 its token, 3 most entries to read
-- Returns  nil if the position is unknown; else number of entries in the list, item id, stored value, ...
--
-- Needs lib/format, item_vectors/entry.
local vectors, order, after = KEYS[1], KEYS[2], tonumber(ARGV[1])
if after > 0 then
  local item_id = redis.call('LINDEX', order, after - 1)
  if not item_id or vector_token(redis.call('HGET', vectors, item_id)) ~= ARGV[2] then
    return false
  end
end
local reply = { redis.call('LLEN', order) }
local item_ids = redis.call('LRANGE', order, after, after + ARGV[3] - 1)
if #item_ids > 0 then
  for i, value in ipairs(redis.call('HMGET', vectors, unpack(item_ids))) do
    reply[2 * i] = item_ids[i]
    reply[2 * i + 1] = value
  end
end
return reply
