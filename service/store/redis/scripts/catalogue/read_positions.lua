-- Read the newest positions of several shards. KEYS: their changes. Returns revision, token, revision, token, ...
--
-- Needs lib/format, catalogue.
local positions = {}
for _, changes in ipairs(KEYS) do
  local revision, token = newest_position(changes)
  positions[#positions + 1] = revision
  positions[#positions + 1] = token
end
return positions
