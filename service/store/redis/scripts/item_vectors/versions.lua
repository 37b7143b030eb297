-- Read the model versions that have a list of vectors. KEYS: versions.
return redis.call('HKEYS', KEYS[1])
