-- Commands with many arguments. One call of 1,000 arguments costs a fraction of 1,000 calls, and holds Redis as little.
-- Needs event_id.lua.
local BULK_ARGUMENTS = 1000 -- fewer than Lua's stack holds, and even, so that pairs stay together

local function call_in_bulk(command, key, arguments)
  for first = 1, #arguments, BULK_ARGUMENTS do
    redis.call(command, key, unpack(arguments, first, math.min(first + BULK_ARGUMENTS - 1, #arguments)))
  end
end

-- The fingerprints of the kept events with these ids, by id.
local function find_fingerprints(user, event_ids)
  local found = {}
  for first = 1, #event_ids, BULK_ARGUMENTS do
    local fields = {}
    for i = first, math.min(first + BULK_ARGUMENTS - 1, #event_ids) do
      fields[#fields + 1] = 'e:' .. event_ids[i]
    end
    for i, value in ipairs(redis.call('HMGET', user, unpack(fields))) do
      local event_id = event_ids[first + i - 1]
      if value and event_id ~= '' then
        local _, fingerprint = unpack_event_id(value)
        found[event_id] = fingerprint
      end
    end
  end
  return found
end
