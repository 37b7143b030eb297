-- Reading of the fields `e:<event id>` of a user's hash; layout.py describes them. Needs format.lua.

-- The sequence and the fingerprint of a kept event, from its field `e:<event id>`.
local function unpack_event_id(value)
  check_format(value, 'an event id')
  return tonumber(value:sub(18)), value:sub(2, 17)
end
