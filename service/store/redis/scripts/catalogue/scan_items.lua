-- Read a page of a catalogue shard's items.
--
-- KEYS     1 items, 2 changes
-- ARGV     1 the server that returned the cursor, or "", 2 cursor, 3 number of items
-- Returns  nil if the cursor is another server's; else this server, the next cursor, newest revision, its token,
--          {item id, stored value, ...}
--
-- A cursor has a meaning on one server only, because each has its own hash function.
-- Needs lib/format, catalogue.
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if ARGV[1] ~= '' and ARGV[1] ~= server then
  return false
end
local revision, token = newest_position(KEYS[2])
local page = redis.call('HSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
return { server, page[1], revision, token, page[2] }
