-- Search for an event id in a user's hash. Needs event_id.lua.

-- The sequence and the fingerprint of the kept event with this id; nil if there is none.
local function find_event_id(user, event_id)
  local value = event_id ~= '' and redis.call('HGET', user, 'e:' .. event_id)
  if not value then
    return nil
  end
  return unpack_event_id(value)
end
