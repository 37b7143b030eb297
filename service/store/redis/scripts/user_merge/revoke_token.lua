-- Let nobody bring a user what was read before now. See redis_merges.py.
-- KEYS  the user's pass, the shard's count of deletions
-- ARGV  1 if it must write
if redis.call('DEL', KEYS[1]) == 0 and ARGV[1] == '1' then
  -- Perhaps gone by a call whose acknowledgement is missing; WAIT covers what its connection wrote.
  redis.call('INCRBY', KEYS[2], 0)
end
return 1
