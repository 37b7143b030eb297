-- Shared by the scripts that look for a sequence; redis_layout.py puts it before them, and search.lua before it.

-- The number of entries in `log` whose sequence is below `sequence`, which is also the place of `sequence` itself.
local function position(log, sequence)
  return count_while(log, function(entry)
    return struct.unpack('<d', entry) < sequence
  end)
end
