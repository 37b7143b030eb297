-- Step 1 of a merge: move a user's log out of the user's keys into the shard's hash of detached logs.
--
-- KEYS     1 user hash, 2 log, 3 shard stream, 4 the shard's count of deletions, 5 the shard's detached logs,
--          6 the user's merge token
-- ARGV     1 user id, 2 target of the merge, 3 "1" to read a detached log and detach nothing,
--          4 "1" if a repetition must write too (see lib/replicate.lua)
-- Returns  nil if there is nothing to move; or
--          {"finalize", source, generation, ...} if merges into this user must be finalized first; or
--          {"emptied", target, generation} if the user was deleted while detached: finish that first; or
--          {"detached" | "resumed", target, generation, detached log if asked for}; "resumed" if it was detached before
--
-- The first write may be refused for lack of memory: see append_and_read.lua.
local user, log, stream, deletions, detached_logs = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local read_only = ARGV[3] == '1'
local value = redis.call('HGET', detached_logs, ARGV[1])
if value then
  if ARGV[4] == '1' then
    rewrite_field(detached_logs, ARGV[1], value)
  end
  local detached = unpack_detached(value)
  if not detached.entries then
    return { 'emptied', detached.target, detached.generation }
  end
  return { 'resumed', detached.target, detached.generation, read_only and value or nil }
end
local sequence, _, generation = unpack_head(redis.call('HGET', user, 'head'))
if not generation or read_only then
  return false
end
local pending = pending_merges(user)
if #pending > 0 then
  return { 'finalize', unpack(pending) }
end
local entries, event_ids, append_ids = redis.call('LRANGE', log, 0, -1), {}, {}
for i, entry in ipairs(entries) do
  local _, _, _, event_id, append_id = unpack_entry(entry)
  event_ids[i], append_ids[i] = event_id, append_id
end
local kept, fingerprints = find_fingerprints(user, event_ids), {}
for i, event_id in ipairs(event_ids) do
  fingerprints[i] = kept[event_id] or ''
end
redis.call('HSET', detached_logs, ARGV[1], pack_detached({ target = ARGV[2], generation = generation,
  sequence = sequence, entries = entries, fingerprints = fingerprints }))
call_in_bulk('XDEL', stream, append_ids)
redis.call('DEL', user, log, KEYS[6])
redis.call('INCR', deletions)
return { 'detached', ARGV[2], generation }
