-- The fourth step of a merge: forget a parked log, now that another user has it.
-- KEYS  the shard's parked logs, the shard's count of deletions
-- ARGV  user id, generation of the log that was merged, 1 if it must write
-- Another generation is another log, parked since.
local parked = redis.call('HGET', KEYS[1], ARGV[1])
if parked and cmsgpack.unpack(parked)[2] == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
elseif ARGV[3] == '1' then
  -- Perhaps gone by a call whose acknowledgement is missing; WAIT covers what its connection wrote.
  redis.call('INCRBY', KEYS[2], 0)
end
return 1
