-- Index of a sequence in a log. Needs unpack_entry.lua and binary_search.lua.

-- The number of entries whose sequence is below `sequence`: the index of `sequence` if the log has it.
local function index_of(log, sequence)
  return count_while(log, function(entry)
    return sequence_of(entry) < sequence
  end)
end
