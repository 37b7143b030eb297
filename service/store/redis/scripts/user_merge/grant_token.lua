-- The second step of a merge: get the pass under which logs may be brought to a user, the one that is valid if there is
-- one. See redis_merges.py.
-- KEYS  the user's pass
-- ARGV  a new pass, its milliseconds
redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
return redis.call('GET', KEYS[1])
