-- Shared by the scripts that look for a place in a log; redis_layout.py puts it before what they look with.

-- The number of entries at the beginning of `log` for which `holds`, given that it holds for no entry after one for
-- which it does not. It reads no more of them than a binary search needs.
local function count_while(log, holds)
  local low, high = 0, redis.call('LLEN', log)
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
