-- Reading and removing many events with few commands. Needs piece.lua and unpack_entry.lua.

-- At most PIECE entries of a log after the first `skipped`, and for each the field of its event id.
local function read_entries(log, skipped)
  local entries, fields = redis.call('LRANGE', log, skipped, skipped + PIECE - 1), {}
  for i, entry in ipairs(entries) do
    local _, _, item_size, id_size, start = unpack_header(entry)
    fields[i] = 'e:' .. string.sub(entry, start + item_size, start + item_size + id_size - 1)
  end
  return entries, fields
end

-- Remove the events of some entries, at most PIECE, from the shard's stream. Returns how many it had.
local function remove_streamed(stream, entries)
  local append_ids = {}
  for i, entry in ipairs(entries) do
    append_ids[i] = append_id_of(entry)
  end
  return redis.call('XDEL', stream, unpack(append_ids))
end
