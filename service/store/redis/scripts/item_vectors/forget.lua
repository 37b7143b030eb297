-- Delete a model version's list of vectors. KEYS: vectors, item ids in order, versions. ARGV: version.
redis.call('UNLINK', KEYS[1], KEYS[2])
redis.call('HDEL', KEYS[3], ARGV[1])
return 1
