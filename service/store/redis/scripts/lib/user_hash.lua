-- The fields of a user's hash; layout.py describes them. Needs record.lua.

-- The newest sequence, the newest sequence that retention removed, and the generation, from the field `head`.
-- 0, 0 and nil for an unknown user, who has no such field.
local function unpack_head(head)
  if not head then
    return 0, 0, nil
  end
  local fields = unpack_record(head, 'a user')
  return fields[1], fields[2], fields[3]
end

local function write_head(user, sequence, trimmed, generation)
  redis.call('HSET', user, 'head', pack_record({ sequence, trimmed, generation }))
end

-- The sequence and the fingerprint of the kept event with this id; nil if there is none.
-- The value is the format byte, 16 characters of fingerprint, and the sequence in decimal digits.
local function find_event_id(user, event_id)
  local value = event_id ~= '' and redis.call('HGET', user, 'e:' .. event_id)
  if not value then
    return nil
  end
  check_format(value, 'an event id')
  return tonumber(string.sub(value, 18)), string.sub(value, 2, 17), value
end

local function write_event_id(user, event_id, sequence, fingerprint)
  redis.call('HSET', user, 'e:' .. event_id, string.char(FORMAT) .. fingerprint .. string.format('%d', sequence))
end

-- The model versions that have a snapshot, the one first written last in front.
local function unpack_versions(versions)
  return versions and unpack_record(versions, "a list of a user's snapshots") or {}
end

local function drop_snapshots(user)
  for _, version in ipairs(unpack_versions(redis.call('HGET', user, 'v'))) do
    redis.call('HDEL', user, 'a:' .. version, 's:' .. version)
  end
  redis.call('HDEL', user, 'v')
end
