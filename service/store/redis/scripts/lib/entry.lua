-- Shared by the scripts that take entries of a log apart; redis_layout.py puts it before them. See visit.lua.
-- The stream's id is followed by @ and milliseconds where the event did not arrive when its stream entry was written.

-- The stream's id of an entry.
local function append_of(entry)
  local _, _, item_size, id_size, start = struct.unpack('<ddHH', entry)
  return string.match(entry, '^[^@]*', start + item_size + id_size)
end

-- The sequence, timestamp, item id, event id, stream id and time of arrival, in milliseconds, of an entry.
local function parts(entry)
  local sequence, timestamp, item_size, id_size, start = struct.unpack('<ddHH', entry)
  local id_start = start + item_size
  local stream_id, arrived = string.match(entry, '^([^@]*)@?(.*)$', id_start + id_size)
  return sequence, timestamp, string.sub(entry, start, id_start - 1),
    string.sub(entry, id_start, id_start + id_size - 1), stream_id,
    tonumber(arrived ~= '' and arrived or string.match(stream_id, '^%d+'))
end
