-- Reading of the entries of a user's log; layout.py describes their layout. Needs format.lua.

local function unpack_header(entry)
  if entry:byte() ~= FORMAT then
    check_format(entry, 'an entry of an event log')
  end
  local _, sequence, timestamp, item_size, id_size, start = struct.unpack('<BddHH', entry)
  return sequence, timestamp, item_size, id_size, start
end

local function sequence_of(entry)
  return (unpack_header(entry))
end

-- The id that the stream gave to the event's append.
local function append_id_of(entry)
  local _, _, item_size, id_size, start = unpack_header(entry)
  return string.match(entry, '^[^@%z]*', start + item_size + id_size)
end

-- Sequence, timestamp, item id, event id ("" if the client gave none), append id, arrival in milliseconds, and two
-- texts that most events do not have: "<type>,<value>" and the recommendation id.
local function unpack_entry(entry)
  local sequence, timestamp, item_size, id_size, start = unpack_header(entry)
  local id_start = start + item_size
  local append_id, typed, arrived, recommendation =
    string.match(entry, '^([^@%z]*)%z?([^@]*)@?(%d*)%z?(.*)$', id_start + id_size)
  return sequence, timestamp, string.sub(entry, start, id_start - 1),
    string.sub(entry, id_start, id_start + id_size - 1), append_id,
    tonumber(arrived ~= '' and arrived or string.match(append_id, '^%d+')), typed, recommendation
end
