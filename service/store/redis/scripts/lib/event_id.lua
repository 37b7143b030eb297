-- The fields `e:<event id>` of a user's hash; layout.py describes them. Needs format.lua.

-- The value of a field `e:<event id>`. Fingerprints have 16 characters; `digits` is the sequence as text.
local function pack_event_id(digits, fingerprint)
  return FORMAT_BYTE .. fingerprint .. digits
end

-- The sequence and the fingerprint of a kept event, from its field `e:<event id>`.
local function unpack_event_id(value)
  if value:byte() ~= FORMAT then
    check_format(value, 'an event id')
  end
  return tonumber(value:sub(18)), value:sub(2, 17)
end

-- The sequence and the fingerprint of the kept event with this id; nil if there is none.
local function find_event_id(user, event_id)
  local value = event_id ~= '' and redis.call('HGET', user, 'e:' .. event_id)
  if not value then
    return nil
  end
  return unpack_event_id(value)
end
