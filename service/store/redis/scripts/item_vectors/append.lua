-- Append vectors of new items to a model version's list, unless it has them.
--
-- KEYS     1 vectors, 2 item ids in order, 3 versions
-- ARGV     1 version, 2 token of these entries, 3 "1" if known entries must be written too (see lib/replicate.lua),
--          then item id, vector for each item
-- Returns  the stored value of each item
--
-- Needs lib/format, item_vectors/entry, lib/replicate.
local vectors, order = KEYS[1], KEYS[2]
local count = redis.call('LLEN', order)
local is_new = count == 0
local values = {}
for i = 4, #ARGV, 2 do
  local item_id, value = ARGV[i], redis.call('HGET', vectors, ARGV[i])
  if value then
    vector_token(value)  -- checks the format
    if ARGV[3] == '1' then
      rewrite_field(vectors, item_id, value)
    end
  else
    count = count + 1
    value = pack_vector(count, ARGV[2], ARGV[i + 1])
    redis.call('HSET', vectors, item_id, value)
    redis.call('RPUSH', order, item_id)
  end
  values[#values + 1] = value
end
if is_new and count > 0 then
  redis.call('HSET', KEYS[3], ARGV[1], FORMAT_TEXT)
end
return values
