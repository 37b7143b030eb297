-- Step 2 of a merge: get the target's token; create one if there is none. Returns the token.
--
-- KEYS  1 the target's merge token
-- ARGV  1 new token, 2 its lifetime in milliseconds
redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
return redis.call('GET', KEYS[1])
