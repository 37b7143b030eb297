-- Finding, reading and removing events in pieces. Needs unpack_entry.lua and binary_search.lua.

-- Most events that one run of a script takes from a long log: some 1.5 ms.
local PIECE = 100

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
--
-- Sequences ascend, so the first and the last one bound the index. In a log without gaps they tell it.
local function index_of(log, sequence)
  local length = redis.call('LLEN', log)
  if length == 0 then
    return 0
  end
  local first, last = sequence_of(redis.call('LINDEX', log, 0)), sequence_of(redis.call('LINDEX', log, -1))
  local low = math.max(0, length - math.max(0, last - sequence + 1))
  local high = math.min(length, math.max(0, sequence - first))
  return count_while(log, function(entry)
    return sequence_of(entry) < sequence
  end, low, high)
end

-- The number of entries from the index `start` on that one run of a script may replace.
--
-- Redis walks from the nearer end of the list to each of them: 10,000 entries take as long as the rest of the work.
local function replaceable(log, start)
  local distance = math.min(start, redis.call('LLEN', log) - start)
  return math.max(1, math.floor(PIECE / (1 + distance / 10000)))
end
