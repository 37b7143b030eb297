-- The fields of a user's hash that every append uses; layout.py describes them. Needs format.lua.

local function pack_head(sequence, trimmed, generation)
  return struct.pack('<Bdd', FORMAT, sequence, trimmed) .. generation
end

-- The newest sequence, the newest sequence that retention removed, and the generation, from the field `head`.
-- 0, 0 and nil for an unknown user, who has no such field.
local function unpack_head(head)
  if not head then
    return 0, 0, nil
  end
  check_format(head, 'a user')
  local _, sequence, trimmed, start = struct.unpack('<Bdd', head)
  return sequence, trimmed, string.sub(head, start)
end

-- The value of a field `e:<event id>`. Fingerprints have 16 characters.
local function pack_event_id(sequence, fingerprint)
  return FORMAT_BYTE .. fingerprint .. sequence
end

-- The sequence and the fingerprint of the kept event with this id, and the field's value; nil if there is none.
local function find_event_id(user, event_id)
  local value = event_id ~= '' and redis.call('HGET', user, 'e:' .. event_id)
  if not value then
    return nil
  end
  check_format(value, 'an event id')
  return tonumber(string.sub(value, 18)), string.sub(value, 2, 17), value
end
