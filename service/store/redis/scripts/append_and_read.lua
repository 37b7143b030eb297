-- One user's visit: append events, then bring back the memo and what a fold still needs.
-- KEYS  user hash, log list, shard stream
-- ARGV  user id, keep, generation for a new user, model version or "", 1 if duplicates must write, time in milliseconds
--       before which what arrived is removed (0: nothing is), then for each event: item id, timestamp, event id or "", fingerprint
-- Returns generation, sequence, trimmed, memo or nil, applied, entries, {sequence, kind} for each event
--         where kind is 0 appended, 1 duplicate, 2 conflict.
--
-- Half a visit is never left behind. A script runs alone, and its writes reach the AOF as one transaction. Redis
-- refuses a write for lack of memory (or a full disk, or on a replica) only while the script has written nothing, by
-- the state it found at the script's start; so the first write must be a command that Redis may refuse for lack of
-- memory. XADD is; XDEL, LPOP and HDEL are not. There is no "#!lua" line on purpose: with one, Redis would refuse a
-- full instance's reads as well.
local user, log, stream = KEYS[1], KEYS[2], KEYS[3]
local keep, version = tonumber(ARGV[2]), ARGV[4]
local found = redis.call('HMGET', user, 'gen', 'seq', 'trimmed', 'a:' .. version, 'm:' .. version)
local generation = found[1]
local before = tonumber(found[2] or 0)
local trimmed = tonumber(found[3] or 0)
local applied = tonumber(found[4])
local memo = found[5]

local sequence, kept, outcomes = before, 0, {}
for i = 7, #ARGV, 4 do
  local item, timestamp, event_id, fingerprint = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local known = event_id ~= '' and redis.call('HGET', user, 'e:' .. event_id)
  if known then
    local first, stored = string.match(known, '^(%d+) (.*)$')
    outcomes[#outcomes + 1] = { tonumber(first), stored == fingerprint and 1 or 2 }
    if ARGV[5] == '1' then
      -- WAIT covers what its connection wrote. Whoever answers for the first write must write as well; put back what
      -- was there, beginning with a removal, which a full instance takes.
      redis.call('HDEL', user, 'e:' .. event_id)
      redis.call('HSET', user, 'e:' .. event_id, known)
    end
  else
    sequence = sequence + 1
    generation = generation or ARGV[3]
    local id = redis.call('XADD', stream, '*', 'user', ARGV[1], 'seq', sequence, 'item', item,
      'ts', timestamp, 'event_id', event_id)
    -- The layout of an entry; redis_layout.py and entry.lua read it. The rest of the entry is the stream's id.
    kept = redis.call('RPUSH', log,
      struct.pack('<ddHH', sequence, timestamp, #item, #event_id) .. item .. event_id .. id)
    if event_id == '' then
      redis.call('HSET', user, 'gen', generation, 'seq', sequence)
    else
      redis.call('HSET', user, 'gen', generation, 'seq', sequence, 'e:' .. event_id, sequence .. ' ' .. fingerprint)
    end
    outcomes[#outcomes + 1] = { sequence, 0 }
  end
end

local limit = tonumber(ARGV[6])
local excess = sequence > before and math.max(kept - keep, limit > 0 and expired(log, limit) or 0) or 0
if excess > 0 then
  trimmed = remove_oldest(user, log, stream, excess)
end

-- A cursor beyond the log as it was, or before what retention removed, belongs to another history.
if not memo or not applied or applied > before or applied < trimmed then
  memo, applied = false, 0
end
local entries = {}
if not memo then
  entries = redis.call('LRANGE', log, 0, -1)
elseif sequence > applied then
  -- Deleted events leave gaps, so this may reach back too far; the caller drops entries up to `applied`.
  entries = redis.call('LRANGE', log, applied - sequence, -1)
end
return { generation, sequence, trimmed, memo, applied, entries, outcomes }
