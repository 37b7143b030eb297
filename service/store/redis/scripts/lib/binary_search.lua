-- Binary search in a log.

-- The number of entries at the start of `log` that satisfy `holds`.
-- No entry after one that does not satisfy it may satisfy it.
-- The number is at least `low` and at most `high`, which are 0 and the length of the log by default.
local function count_while(log, holds, low, high)
  low, high = low or 0, high or redis.call('LLEN', log)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if holds(redis.call('LINDEX', log, middle)) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end
