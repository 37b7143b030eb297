-- Writes without effect. WAIT counts the replicas that have everything its connection wrote, so a repeated request
-- must write as well: the first attempt may have failed because its replicas did not acknowledge it in time.

-- Write a field's own value again. Redis never refuses HDEL for lack of memory, and after it takes the HSET as well.
local function rewrite_field(key, field, value)
  redis.call('HDEL', key, field)
  redis.call('HSET', key, field, value)
end

local function rewrite_counter(key)
  redis.call('INCRBY', key, 0)
end
