-- The last step of a merge: the source is parked no more. Its id is replaced by a digest, and the oldest are forgotten.
-- KEYS  user hash, the user's pass
-- ARGV  source's id, its generation, how many that are settled are kept
local merged = redis.call('HGET', KEYS[1], 'merged')
local kept, settled = {}, 0
for _, record in ipairs(merged and cmsgpack.unpack(merged) or {}) do
  if record[1] == ARGV[1] and record[2] == ARGV[2] then
    record[1], record[8] = redis.sha1hex(ARGV[1]), 0
  end
  settled = settled + 1 - record[8]
  if record[8] == 1 or settled <= tonumber(ARGV[3]) then
    kept[#kept + 1] = record
  else
    redis.call('DEL', KEYS[2])
  end
end
if merged then
  -- Beginning with a removal, which a full instance takes: see visit.lua.
  redis.call('HDEL', KEYS[1], 'merged')
  redis.call('HSET', KEYS[1], 'merged', cmsgpack.pack(kept))
end
return 1
