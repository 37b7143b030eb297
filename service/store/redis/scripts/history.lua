-- Read a page of a user's log.
--
-- KEYS     1 user hash, 2 log
-- ARGV     1 number of events, 2 the sequence that the page ends before, or ""
-- Returns  nil for an unknown user, else the newest sequence, trimmed, number of kept events, entries
local sequence, trimmed, generation = unpack_head(redis.call('HGET', KEYS[1], 'head'))
if not generation then
  return false
end
local kept = redis.call('LLEN', KEYS[2])
local stop = ARGV[2] == '' and kept or index_of(KEYS[2], tonumber(ARGV[2]))
local start = math.max(0, stop - tonumber(ARGV[1]))
local entries = {}
if start < stop then
  entries = redis.call('LRANGE', KEYS[2], start, stop - 1)
end
return { sequence, trimmed, kept, entries }
