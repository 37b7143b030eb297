-- Replace a note if it is what the caller takes it to be. Returns 1 if it was.
-- KEYS  hash of the notes
-- ARGV  name, text expected or "" for none, new text or "" for none
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then
  return 0
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 1
