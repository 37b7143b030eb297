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
  for first = 1, number, 1000 do  -- Lua cannot pass more than some 8,000 arguments
    local fields, append_ids = {}, {}
    for i, entry in ipairs(redis.call('LPOP', log, math.min(1000, number + 1 - first))) do
      local sequence, _, _, event_id, append_id = unpack_entry(entry)
      append_ids[i], trimmed = append_id, sequence
      if event_id ~= '' then
        fields[#fields + 1] = 'e:' .. event_id
      end
    end
    if fields[1] then
      redis.call('HDEL', user, unpack(fields))
    end
    redis.call('XDEL', stream, unpack(append_ids))
  end
  return trimmed
end
