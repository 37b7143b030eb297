-- Step 6 of a merge: replace the target's hash and log by the staged ones, if they are as they were read.
--
-- KEYS     1 user hash, 2 log, 3 the shard's count of deletions, 4 the user's merge token, 5 the staged user's hash,
--          6 its log, 7 log to keep the replaced one in, 8 key that is free
-- ARGV     1 source's id, 2 generation of its log, 3 its sequence, 4 the token under which the log was read,
--          5 head and 6 merges as they were read, 7 the newest entry or "", 8 number of staged entries,
--          9 new generation, 10 new sequence, 11 trimmed, 12 events moved, 13 duplicates, 14 conflicts
-- Returns  1, or 0 if something has changed: read again
--
-- A log is applied once, however often it arrives: the same generation up to the same sequence is the same log.
local user, log, staged_user, staged_log = KEYS[1], KEYS[2], KEYS[5], KEYS[6]
local found = redis.call('HMGET', user, 'head', 'merges', 'unstreamed')
-- After a failover another event may have the newest one's sequence, and so the head be the same: decision 0071.
if redis.call('GET', KEYS[4]) ~= ARGV[4] or (found[1] or '') ~= ARGV[5] or (found[2] or '') ~= ARGV[6] or found[3]
  or (redis.call('LINDEX', log, -1) or '') ~= ARGV[7] or redis.call('LLEN', staged_log) ~= tonumber(ARGV[8]) then
  return 0
end
local merges = unpack_merges(found[2])
local known = find_merge(merges, ARGV[1], ARGV[2])
if known then
  table.remove(merges, known)
end
local function number(index)
  return tonumber(ARGV[index])
end
table.insert(merges, 1, { source = ARGV[1], generation = ARGV[2], sequence = number(3), moved = number(12),
  duplicates = number(13), conflicts = number(14), result = number(10), pending = 1 })
local first = unpack_head(found[1]) + 1
-- The first write, which may be refused for lack of memory: see append_and_read.lua.
redis.call('HSET', staged_user, 'merges', pack_merges(merges), 'head', pack_head(number(10), number(11), ARGV[9]),
  'unstreamed', string.format('%d', first))
redis.call('PERSIST', staged_user)
redis.call('PERSIST', staged_log)
if ARGV[7] ~= '' then
  redis.call('RENAME', log, KEYS[7])
end
if ARGV[8] ~= '0' then
  redis.call('RENAME', staged_log, log)
end
if found[1] then
  redis.call('RENAME', user, KEYS[8])
end
redis.call('RENAME', staged_user, user)
redis.call('INCR', KEYS[3])
redis.call('UNLINK', KEYS[8])  -- in the background: Redis needs some time to free a large hash
return 1
