-- Step 5 of a merge: add events to the merged log that nobody sees yet. Returns 1.
--
-- KEYS  1 the staged user's hash, 2 its log
-- ARGV  1 lifetime in milliseconds, 2 number of entries, then the entries, then fields and values of the hash
--
-- Both keys expire if the merge is not finished. The first write may be refused for lack of memory.
local last = 2 + tonumber(ARGV[2])
redis.call('RPUSH', KEYS[2], unpack(ARGV, 3, last))
if #ARGV > last then
  redis.call('HSET', KEYS[1], unpack(ARGV, last + 1))
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return 1
