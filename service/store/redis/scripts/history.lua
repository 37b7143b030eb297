-- A page of a user's log. Returns nil for an unknown user, else sequence, trimmed, kept, entries.
-- KEYS  user hash, log list
-- ARGV  limit, the sequence that the page ends before or ""
local found = redis.call('HMGET', KEYS[1], 'seq', 'trimmed')
if not found[1] then
  return false
end
local kept = redis.call('LLEN', KEYS[2])
local stop = ARGV[2] == '' and kept or position(KEYS[2], tonumber(ARGV[2]))
local start = math.max(0, stop - tonumber(ARGV[1]))
local entries = {}
if start < stop then
  entries = redis.call('LRANGE', KEYS[2], start, stop - 1)
end
return { tonumber(found[1]), tonumber(found[2] or 0), kept, entries }
