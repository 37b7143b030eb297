-- Extend a lease and run one command, if the caller holds the lease. Returns the command's reply.
--
-- KEYS  1 lease, 2 the key that the command uses
-- ARGV  1 owner, 2 duration of the lease in milliseconds, then the command and its arguments
--
-- Check and command are one step: a worker that was paused for longer than its lease cannot read any more entries.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('LEASELOST another worker holds the lease')
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call(unpack(ARGV, 3))
