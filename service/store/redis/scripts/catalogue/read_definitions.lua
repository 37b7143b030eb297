-- Read all definitions.
--
-- KEYS     1 definitions, 2 changes
-- Returns  newest revision, its token, {name, stored value, ...}
--
-- Needs lib/format, catalogue.
local revision, token = newest_position(KEYS[2])
return { revision, token, redis.call('HGETALL', KEYS[1]) }
