-- Every parked log: source, whom it is for, source, …
-- KEYS  the shard's parked logs
local found = redis.call('HGETALL', KEYS[1])
for i = 2, #found, 2 do
  found[i] = cmsgpack.unpack(found[i])[1]
end
return found
