-- Replace a shared record if it has the expected text. Returns 1 if it had, else 0.
--
-- KEYS  1 hash of the shared records
-- ARGV  1 name, 2 expected text or "" for none, 3 new text or "" for none
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then
  return 0
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 1
