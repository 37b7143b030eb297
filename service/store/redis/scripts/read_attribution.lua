-- Read a page of a shard's counters of attribution.
--
-- KEYS     1 their hash
-- ARGV     1 the cursor that the page before returned, or "", 2 number of counters
-- Returns  the next cursor, "" at the end; name, number, name, number, ...
--
-- A cursor has a meaning on one server only (see scan_items.lua). After a failover the pages begin anew.
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local known, cursor = string.match(ARGV[1], '^(%w+):(%d+)$')
local page = redis.call('HSCAN', KEYS[1], known == server and cursor or '0', 'COUNT', ARGV[2])
return { page[1] == '0' and '' or server .. ':' .. page[1], page[2] }
