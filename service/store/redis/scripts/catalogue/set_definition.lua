-- Replace a definition if it has the expected text. Returns 1 if the new text is stored now, else 0.
-- A new one is refused if there are too many of its kind, which is the first two characters of its name.
--
-- KEYS  1 definitions, 2 changes
-- ARGV  1 token of the change, 2 "1" if an unchanged definition must be written too (see lib/replicate.lua),
--       3 number of changes to keep, 4 name, 5 expected text or "" for none, 6 new text or "" for none,
--       7 most definitions of its kind, 8 first character of the names that do not count
--
-- Needs lib/format, replicate, catalogue.
local definitions, changes, name, text = KEYS[1], KEYS[2], ARGV[4], ARGV[6]

local function is_full()
  if string.sub(name, 3, 3) == ARGV[8] then
    return false
  end
  local count = 0
  for _, other in ipairs(redis.call('HKEYS', definitions)) do
    if string.sub(other, 1, 2) == string.sub(name, 1, 2) and string.sub(other, 3, 3) ~= ARGV[8] then
      count = count + 1
    end
  end
  return count >= tonumber(ARGV[7])
end

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
if current ~= ARGV[5] or (current == '' and is_full()) then
  return 0
end
add_change(changes, ARGV[3], newest_position(changes) + 1, ARGV[1], name)
if text == '' then
  redis.call('HDEL', definitions, name)
else
  redis.call('HSET', definitions, name, FORMAT_BYTE .. text)
end
return 1
