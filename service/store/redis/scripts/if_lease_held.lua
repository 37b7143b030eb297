-- Run one command for the holder of a lease alone, and prolong the lease.
-- KEYS  the lease, the key that the command is about
-- ARGV  who asks, milliseconds of the lease, the command and its arguments
-- Returns what the command does. The check and the command are one step, so that a holder which was stopped for longer
-- than its lease finds out before it has read anything.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('LEASELOST another worker holds the lease')
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call(unpack(ARGV, 3))
