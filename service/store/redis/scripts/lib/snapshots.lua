-- The snapshots in a user's hash. Needs record.lua.

-- The model versions that have a snapshot, the one first written last in front, from the field `v`.
local function unpack_versions(versions)
  return versions and unpack_record(versions, "a list of a user's snapshots") or {}
end

local function drop_snapshots(user, versions)
  for _, version in ipairs(versions) do
    redis.call('HDEL', user, 'a:' .. version, 's:' .. version)
  end
  redis.call('HDEL', user, 'v')
end
