-- Append events to a user's log, then read the snapshot and the events that a replay still needs.
--
-- KEYS     1 user hash, 2 log, 3 shard stream, 4 the shard's counters of attribution if an event has a credit
-- ARGV     1 user id
--          2 number of events to keep
--          3 generation for a new user
--          4 model version whose snapshot is wanted, or ""
--          5 "1" if duplicates must write too (see lib/replicate.lua)
--          6 time in milliseconds; events that arrived before it are removed (0: none are)
--          then for each event: item id, timestamp, event id or "", fingerprint (16 characters, and then what most
--          events do not have: a zero byte and "<type>,<value>", then "@", the credit, a zero byte and the recommendation id)
-- Returns  generation, sequence, trimmed, snapshot or nil, its sequence, entries, {sequence, outcome} for each event,
--          and the sequence of the user's first event with a type, if there ever was one;
--          an outcome is 0 (appended), 1 (duplicate) or 2 (conflict)
--
-- A script never leaves half of its work behind: nothing else runs meanwhile, and its writes reach the append-only
-- file as one transaction. Redis can refuse (no memory, full disk, replica) only a script's first write. Therefore
-- that write must be one that can fail for lack of memory: XADD or HSET, not XDEL, LPOP or HDEL. There is no "#!lua"
-- line: see decision 0002.
--
-- Needs lib/format, head, pack_entry. Lua creates every function anew in each run, so the parts that few
-- calls need are included where they are needed.
local user, log, stream = KEYS[1], KEYS[2], KEYS[3]
local keep, version, oldest_arrival = tonumber(ARGV[2]), ARGV[4], tonumber(ARGV[6])
local found = redis.call('HMGET', user, 'head', 'a:' .. version, 's:' .. version, 'e:' .. (ARGV[9] or ''), 't')
local before, trimmed, generation = unpack_head(found[1])
local applied, snapshot = tonumber(found[2]), found[3]

local sequence, kept, outcomes, appended = before, 0, {}, {}
local several, known, fields = #ARGV > 10, nil, nil
if several then  -- many events with few commands; the known event ids by name, and the fields to write
  known, fields = {}, {}
  for first = 7, #ARGV, 4000 do  -- a thousand events: Lua cannot pass more than some 8,000 arguments
    local names = {}
    for i = first, math.min(first + 3996, #ARGV - 3), 4 do
      names[#names + 1] = 'e:' .. ARGV[i + 2]
    end
    for i, value in ipairs(redis.call('HMGET', user, unpack(names))) do
      known[names[i]] = value
    end
  end
end
for i = 7, #ARGV, 4 do
  local item_id, timestamp, event_id, fingerprint = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local value, typed, recommendation = found[4], '', ''
  if several then
    value = known['e:' .. event_id]
  end
  local is_plain = #fingerprint == 16
  if not is_plain then
    typed, recommendation = string.match(fingerprint, '^%z?([^@]*)@?(.*)$', 17)
    fingerprint = string.sub(fingerprint, 1, 16)
  end
  if value then
    -- include lib/event_id.lua
    local first, stored = unpack_event_id(value)
    outcomes[#outcomes + 1] = { first, stored == fingerprint and 1 or 2 }
    if ARGV[5] == '1' then
      -- include lib/replicate.lua
      rewrite_field(user, 'e:' .. event_id, value)
    end
  else
    sequence = sequence + 1
    local digits = string.format('%d', sequence)  -- once: Redis writes a number with 17 digits, which takes longer
    local append_id
    if is_plain then
      append_id = redis.call('XADD', stream, '*', 'format', FORMAT_TEXT, 'user', ARGV[1], 'seq', digits,
        'item', item_id, 'ts', timestamp, 'event_id', event_id)
    else
      -- include lib/typed/typed_event.lua
      append_id = stream_event(stream, ARGV[1], digits, item_id, timestamp, event_id, typed, recommendation)
      append_id = pack_end(append_id, nil, typed, recommendation)
      if KEYS[4] then
        -- include lib/typed/credit.lua
        add_credit(KEYS[4], recommendation, 1)
      end
      if not found[5] and has_type(typed) then
        found[5] = digits
        redis.call('HSET', user, 't', digits)
      end
    end
    appended[#appended + 1] = pack_entry(sequence, timestamp, item_id, event_id, append_id)
    generation = generation or ARGV[3]
    outcomes[#outcomes + 1] = { sequence, 0 }
    if several then
      if event_id ~= '' then
        local name = 'e:' .. event_id
        known[name] = pack_event_id(digits, fingerprint)
        fields[#fields + 1] = name
        fields[#fields + 1] = known[name]
      end
    else
      kept = redis.call('RPUSH', log, appended[1])
      local head = pack_head(sequence, trimmed, generation)
      if event_id == '' then
        redis.call('HSET', user, 'head', head)
      else
        redis.call('HSET', user, 'head', head, 'e:' .. event_id, pack_event_id(digits, fingerprint))
      end
    end
  end
end
if several and sequence > before then
  for first = 1, #appended, 1000 do
    kept = redis.call('RPUSH', log, unpack(appended, first, math.min(first + 999, #appended)))
  end
  for first = 1, #fields, 2000 do
    redis.call('HSET', user, unpack(fields, first, math.min(first + 1999, #fields)))
  end
  redis.call('HSET', user, 'head', pack_head(sequence, trimmed, generation))
end

if kept > keep or (kept > 0 and oldest_arrival > 0) then
  -- include lib/unpack_entry.lua
  -- include lib/binary_search.lua
  -- include lib/retention.lua
  local excess = math.max(kept - keep, oldest_arrival > 0 and count_expired(log, oldest_arrival) or 0)
  if excess > 0 then
    trimmed = remove_oldest(user, log, stream, excess)
    redis.call('HSET', user, 'head', pack_head(sequence, trimmed, generation))
  end
end

-- Ignore a snapshot newer than the log or older than its retained part.
if not snapshot or not applied or applied > before or applied < trimmed then
  snapshot, applied = false, 0
end
local entries = appended  -- all that is after a snapshot of the log as it was
if not snapshot then
  entries = redis.call('LRANGE', log, 0, -1)
elseif applied < before then
  -- Deleted events leave gaps, so this may reach back too far; the caller skips entries up to `applied`.
  entries = redis.call('LRANGE', log, applied - sequence, -1)
end
return { generation or false, sequence, trimmed, snapshot, applied, entries, outcomes,
  found[5] and tonumber(found[5]) or nil }
