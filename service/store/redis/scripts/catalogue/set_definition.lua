-- Replace a definition if it has the expected text. Returns 1 if the new text is stored now, else 0.
--
-- KEYS  1 definitions, 2 changes
-- ARGV  1 token of the change, 2 "1" if an unchanged definition must be written too (see lib/replicate.lua),
--       3 number of changes to keep, 4 name, 5 expected text or "" for none, 6 new text or "" for none
--
-- Needs lib/format, replicate, catalogue.
local definitions, changes, name, text = KEYS[1], KEYS[2], ARGV[4], ARGV[6]
local stored = redis.call('HGET', definitions, name)
if stored then
  check_format(stored, 'a definition of the catalogue')
end
local current = stored and string.sub(stored, 2) or ''
if current == text then
  if ARGV[2] == '1' and stored then
    rewrite_field(definitions, name, stored)
  elseif ARGV[2] == '1' then
    redis.call('HSET', definitions, name, '')
    redis.call('HDEL', definitions, name)
  end
  return 1
end
if current ~= ARGV[5] then
  return 0
end
add_change(changes, ARGV[3], newest_position(changes) + 1, ARGV[1], name)
if text == '' then
  redis.call('HDEL', definitions, name)
else
  redis.call('HSET', definitions, name, FORMAT_BYTE .. text)
end
return 1
