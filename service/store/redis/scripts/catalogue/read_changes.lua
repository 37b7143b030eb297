-- Read the items of the first changes after a position.
--
-- KEYS     1 items, 2 changes
-- ARGV     1 revision of the position, 2 its token, 3 most changes to read, 4 bytes of items at which to stop
-- Returns  nil if the position is unknown or what came after is trimmed;
--          else revision and token of the last change read, newest revision, item id, stored value, ...
--
-- An item that changed again later is left out: a later read returns it, with that change.
-- Needs lib/format, catalogue.
local items, changes, after = KEYS[1], KEYS[2], tonumber(ARGV[1])
if after > 0 then
  local id = change_id(after)
  local entry = redis.call('XRANGE', changes, id, id)[1]
  if not entry or select(2, unpack_change(entry)) ~= ARGV[2] then
    return false
  end
else
  local first = redis.call('XRANGE', changes, '-', '+', 'COUNT', 1)[1]
  if first and unpack_change(first) ~= 1 then
    return false
  end
end
local reply, bytes = { after, ARGV[2], (newest_position(changes)) }, 0
for _, entry in ipairs(redis.call('XRANGE', changes, '(' .. change_id(after), '+', 'COUNT', ARGV[3])) do
  local revision, token, item_id = unpack_change(entry)
  local item = redis.call('HGET', items, item_id)
  if item and revision_of(item) == revision then
    reply[#reply + 1] = item_id
    reply[#reply + 1] = item
  end
  bytes = bytes + (item and #item or 0)
  reply[1], reply[2] = revision, token
  if bytes >= tonumber(ARGV[4]) then
    break
  end
end
return reply
