-- Read items of one catalogue shard. KEYS: 1 items. ARGV: item ids. Returns the stored value or nil for each.
return redis.call('HMGET', KEYS[1], unpack(ARGV))
