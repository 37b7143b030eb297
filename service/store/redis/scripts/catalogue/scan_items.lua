-- Read a page of a catalogue shard's items.
--
-- KEYS     1 items, 2 changes
-- ARGV     1 the server that returned the cursor, or "", 2 cursor, 3 number of items, 4 bytes of items at which to stop
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
local cursor, values, bytes = ARGV[2], {}, 0
-- In small steps, because an item may have some bytes or 16 KB.
repeat
  local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 16)
  cursor = page[1]
  for _, value in ipairs(page[2]) do
    values[#values + 1] = value
    bytes = bytes + #value
  end
until cursor == '0' or #values >= 2 * tonumber(ARGV[3]) or bytes >= tonumber(ARGV[4])
return { server, cursor, revision, token, values }
