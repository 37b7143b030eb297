-- Read some of the definitions, in the order of names.
--
-- KEYS     1 definitions, 2 changes
-- ARGV     1 number of definitions to skip, 2 bytes of definitions at which to stop
-- Returns  newest revision, its token, number of all definitions, {name, stored value, ...}
--
-- A thousand filters may be some MB. Pages of the same revision and token belong together.
-- Needs lib/format, catalogue.
local revision, token = newest_position(KEYS[2])
local names, values, bytes = redis.call('HKEYS', KEYS[1]), {}, 0
table.sort(names)
for i = tonumber(ARGV[1]) + 1, #names do
  local value = redis.call('HGET', KEYS[1], names[i])
  values[#values + 1] = names[i]
  values[#values + 1] = value
  bytes = bytes + #value
  if bytes >= tonumber(ARGV[2]) then
    break
  end
end
return { revision, token, #names, values }
