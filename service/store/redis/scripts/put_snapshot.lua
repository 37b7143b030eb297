-- Store a snapshot unless it contradicts the log or is no better than the stored one. Returns 1 if stored, else 0.
-- The higher vector revision is better, then the longer prefix of the log.
--
-- KEYS  1 user hash, 2 log
-- ARGV  1 generation, 2 model version, 3 sequence of the snapshot, 4 snapshot, 5 "1" to repair a damaged one,
--       6 append id of the snapshot's newest event, or ""
--
-- The first write may be refused for lack of memory: see append_and_read.lua, also about what is included where.
--
-- Needs lib/format, head, unpack_entry.
local user, log, version = KEYS[1], KEYS[2], ARGV[2]
local applied = tonumber(ARGV[3])
local found = redis.call('HMGET', user, 'head', 'a:' .. version, 'v')
local sequence, _, generation = unpack_head(found[1])
if generation ~= ARGV[1] or applied > sequence then
  return 0
end
-- A failover may have undone the newest event of the snapshot and given its sequence to another: decision 0071.
if ARGV[6] ~= '' then
  local entry = redis.call('LINDEX', log, -1)
  if entry and sequence_of(entry) > applied then
    -- include lib/binary_search.lua
    -- include lib/pieces.lua
    local index = index_of(log, applied + 1) - 1
    entry = index >= 0 and redis.call('LINDEX', log, index)
  end
  if not entry or append_id_of(entry) ~= ARGV[6] then
    return 0
  end
end
local stored = tonumber(found[2])
-- A stored snapshot beyond the log counts as absent; otherwise it would block all valid snapshots.
if stored and stored <= sequence and ARGV[5] ~= '1' then
  local is_better = applied > stored
  if string.byte(ARGV[4], 2) == 2 or string.byte(ARGV[4], 2) == 3 then
    -- include item_vectors/vector_revision.lua
    local ours, theirs = vector_revision(ARGV[4]), vector_revision(redis.call('HGET', user, 's:' .. version) or '')
    if ours ~= theirs then
      is_better = ours > theirs
    end
  end
  if not is_better then
    return 0
  end
end
redis.call('HSET', user, 'a:' .. version, ARGV[3], 's:' .. version, ARGV[4])
if not stored then
  -- include lib/record.lua
  -- include lib/snapshots.lua
  local versions = unpack_versions(found[3])
  table.insert(versions, 1, version)
  local dropped = table.remove(versions, 3)
  redis.call('HSET', user, 'v', pack_record(versions))
  if dropped then
    redis.call('HDEL', user, 'a:' .. dropped, 's:' .. dropped)
  end
end
return 1
