-- Step 4 of a merge: read a part of the target's log, and whether the detached log was applied before.
--
-- KEYS     1 user hash, 2 log
-- ARGV     1 source's id, 2 generation of the detached log, 3 number of entries to skip
-- Returns  the fields head and merges, 1 if an earlier merge must be streamed first (see stream_moved.lua) or 0,
--          the source's sequence up to which it was applied or 0, the newest sequence, trimmed,
--          the entries and, for each, the value of its field `e:<event id>`
local found = redis.call('HMGET', KEYS[1], 'head', 'merges', 'unstreamed')
local sequence, trimmed = unpack_head(found[1])
local _, known = find_merge(unpack_merges(found[2]), ARGV[1], ARGV[2])
local entries, fields = read_entries(KEYS[2], tonumber(ARGV[3]))
return { found[1] or '', found[2] or '', found[3] and 1 or 0, known and known.sequence or 0, sequence, trimmed,
  entries, #entries > 0 and redis.call('HMGET', KEYS[1], unpack(fields)) or {} }
