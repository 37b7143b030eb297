-- Step 5 of a merge: delete a detached log that was applied. Returns 1.
--
-- KEYS  1 the shard's detached logs, 2 the shard's count of deletions
-- ARGV  1 source's id, 2 generation of the applied log, 3 "1" if a repetition must write too (see lib/replicate.lua)
--
-- A log of another generation was detached since; it stays.
local value = redis.call('HGET', KEYS[1], ARGV[1])
if value and unpack_detached(value).generation == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
elseif ARGV[3] == '1' then
  rewrite_counter(KEYS[2])
end
return 1
