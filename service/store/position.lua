-- Shared by the scripts that look for a sequence; redis.py puts it before them.
-- The number of entries in `log` whose sequence is below `sequence`, which is also the place of `sequence` itself.
local function position(log, sequence)
  local low, high = 0, redis.call('LLEN', log)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if struct.unpack('<d', redis.call('LINDEX', log, middle)) < sequence then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end
