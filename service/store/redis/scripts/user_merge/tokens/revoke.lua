-- Delete a user's merge token, so that no log that was read before can be applied. Returns 1.
--
-- KEYS  1 the user's merge token, 2 the shard's count of deletions
-- ARGV  1 "1" if a repetition must write too (see lib/replicate.lua)
if redis.call('DEL', KEYS[1]) == 0 and ARGV[1] == '1' then
  rewrite_counter(KEYS[2])
end
return 1
