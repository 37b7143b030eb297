-- List the shard's detached logs. KEYS: 1 their hash. Returns source, target, source, target, ...
local found = redis.call('HGETALL', KEYS[1])
for i = 2, #found, 2 do
  found[i] = unpack_detached(found[i]).target
end
return found
