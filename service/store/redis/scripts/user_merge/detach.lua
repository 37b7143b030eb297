-- Step 1 of a merge: move a user's hash and log to the keys of detached logs.
--
-- KEYS     1 user hash, 2 log, 3 the shard's count of deletions, 4 the shard's detached logs, 5 the user's merge token,
--          6 the detached user's hash, 7 its log
-- ARGV     1 user id, 2 target of the merge, 3 "1" to detach nothing,
--          4 "1" if a repetition must write too (see lib/replicate.lua)
-- Returns  nil if there is nothing to move; or
--          {"finalize", source, generation, ...} if merges into this user must be finalized first; or
--          {"emptied", target, generation} if the user was deleted while detached: finish that first; or
--          {"detached" | "resumed", target, generation, sequence}; "resumed" if it was detached before
--
-- The first write may be refused for lack of memory: see append_and_read.lua.
local user, log, deletions, detached_logs = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

-- Move the log of a record that an earlier release wrote to the keys of detached logs.
local function convert(value)
  local detached = unpack_detached(value)
  for first = 1, #detached.entries, PIECE do
    local last, fields = math.min(#detached.entries, first + PIECE - 1), {}
    for i = first, last do
      local sequence, _, _, event_id = unpack_entry(detached.entries[i])
      if event_id ~= '' then
        fields[#fields + 1] = 'e:' .. event_id
        fields[#fields + 1] = pack_event_id(string.format('%d', sequence), detached.fingerprints[i])
      end
    end
    redis.call('RPUSH', KEYS[7], unpack(detached.entries, first, last))
    if #fields > 0 then
      redis.call('HSET', KEYS[6], unpack(fields))
    end
  end
  redis.call('HSET', detached_logs, ARGV[1], pack_detached(detached))
end

local value = redis.call('HGET', detached_logs, ARGV[1])
if value then
  local detached = unpack_detached(value)
  if detached.entries then
    convert(value)
  elseif ARGV[4] == '1' then
    rewrite_field(detached_logs, ARGV[1], value)
  end
  if not detached.kept then
    return { 'emptied', detached.target, detached.generation }
  end
  return { 'resumed', detached.target, detached.generation, detached.sequence }
end
local sequence, _, generation = unpack_head(redis.call('HGET', user, 'head'))
if not generation or ARGV[3] == '1' then
  return false
end
local pending = pending_merges(user)
if #pending > 0 then
  return { 'finalize', unpack(pending) }
end
redis.call('HSET', detached_logs, ARGV[1],
  pack_detached({ target = ARGV[2], generation = generation, sequence = sequence, kept = true }))
local renamed = redis.pcall('RENAME', user, KEYS[6])
if renamed.err then  -- the ACL user of an earlier release may not rename
  redis.call('HDEL', detached_logs, ARGV[1])
  return renamed
end
if redis.call('LLEN', log) > 0 then
  redis.call('RENAME', log, KEYS[7])
end
redis.call('DEL', KEYS[5])
redis.call('INCR', deletions)
return { 'detached', ARGV[2], generation, sequence }
