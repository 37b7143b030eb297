-- Removal of the oldest events. Needs unpack_entry.lua and binary_search.lua.

-- The number of entries that arrived before `limit`, in milliseconds. Arrival times never descend along a log.
local function count_expired(log, limit)
  return count_while(log, function(entry)
    return select(6, unpack_entry(entry)) < limit
  end)
end

-- Remove the oldest `number` events, at least one. Returns the newest sequence removed, to be written to the head.
local function remove_oldest(user, log, stream, number)
  local trimmed
  for _, entry in ipairs(redis.call('LPOP', log, number)) do
    local sequence, _, _, event_id, append_id = unpack_entry(entry)
    if event_id ~= '' then
      redis.call('HDEL', user, 'e:' .. event_id)
    end
    redis.call('XDEL', stream, append_id)
    trimmed = sequence
  end
  return trimmed
end
