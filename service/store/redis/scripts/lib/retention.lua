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
  while number > 0 do
    local entries, fields, append_ids = redis.call('LPOP', log, math.min(number, PIECE)), {}, {}
    for i, entry in ipairs(entries) do
      local sequence, _, _, event_id, append_id = unpack_entry(entry)
      if event_id ~= '' then
        fields[#fields + 1] = 'e:' .. event_id
      end
      append_ids[i] = append_id
      trimmed = sequence
    end
    if #fields > 0 then
      redis.call('HDEL', user, unpack(fields))
    end
    redis.call('XDEL', stream, unpack(append_ids))
    number = number - #entries
  end
  return trimmed
end
