-- Read the position of a kept change. KEYS: 1 changes. ARGV: 1 revision. Returns revision and token, or nil.
--
-- Needs lib/format, catalogue.
local id = change_id(tonumber(ARGV[1]))
local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
if not entry then
  return false
end
local revision, token = unpack_change(entry)
return { revision, token }
