-- Shared by the scripts that remove the oldest events; redis_layout.py puts it before them, and entry.lua and search.lua
-- before it.

-- The number of entries in `log` that arrived before `limit`, in milliseconds. Arrivals never descend along a log.
local function expired(log, limit)
  return count_while(log, function(entry)
    local _, _, _, _, _, arrived = parts(entry)
    return arrived < limit
  end)
end

-- Remove the oldest `number` events, at least one; the newest sequence that is removed.
local function remove_oldest(user, log, stream, number)
  local trimmed
  for _, entry in ipairs(redis.call('LPOP', log, number)) do
    local sequence, _, _, event_id, stream_id = parts(entry)
    if event_id ~= '' then
      redis.call('HDEL', user, 'e:' .. event_id)
    end
    redis.call('XDEL', stream, stream_id)
    trimmed = sequence
  end
  redis.call('HSET', user, 'trimmed', trimmed)
  return trimmed
end
