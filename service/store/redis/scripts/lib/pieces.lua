-- Finding, reading and removing events in pieces. Needs unpack_entry.lua and binary_search.lua.

-- Most events that one run of a script takes from a long log: some 3 ms.
local PIECE = 250

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

-- The number of entries whose sequence is below `sequence`: the index of `sequence` if the log has it.
local function index_of(log, sequence)
  return count_while(log, function(entry)
    return sequence_of(entry) < sequence
  end)
end
