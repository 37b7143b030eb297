-- Step 4 of a merge: insert the events of a detached log into the target's log, in order of their timestamps.
--
-- KEYS     1 user hash, 2 log, 3 shard stream, 4 the shard's count of deletions, 5 the user's merge token
-- ARGV     1 user id, 2 number of events to keep, 3 new generation, 4 source's id,
--          5 detached log, or "" to ask for the result of an earlier merge,
--          6 "1" if a repetition must write too (see lib/replicate.lua), 7 the token under which the log was read
-- Returns  nil if the token is no longer valid, or if nothing is known about the source; else
--          1 if the log was applied before or 0, moved, duplicates, conflicts, the user's newest sequence,
--          the source's generation, 1 if the merge is pending or 0
--
-- A log is applied once, however often it arrives: the same generation up to the same sequence is the same log.
local user, log, stream, deletions = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local keep, source = tonumber(ARGV[2]), ARGV[4]

local function result(repeated, merge)
  return { repeated, merge.moved, merge.duplicates, merge.conflicts, merge.result, merge.generation, merge.pending }
end

local function described(entry, fingerprint, position)
  local sequence, timestamp, item_id, event_id, append_id, arrived = unpack_entry(entry)
  return { sequence = sequence, timestamp = timestamp, item_id = item_id, event_id = event_id,
    append_id = append_id, arrived = arrived, fingerprint = fingerprint, position = position }
end

local found = redis.call('HMGET', user, 'head', 'merges', 'v')
local merges, detached, known = unpack_merges(found[2]), ARGV[5] ~= '' and unpack_detached(ARGV[5]), nil
for i, merge in ipairs(merges) do
  -- A slow process may bring a log after the source's next log was applied: each generation has its own record.
  if (merge.source == source or merge.source == redis.sha1hex(source))
    and (not detached or merge.generation == detached.generation) then
    known = table.remove(merges, i)
    break
  end
end
if not detached and not known then
  return false
end
if not detached or (known and known.sequence >= detached.sequence) then
  if ARGV[6] == '1' then
    rewrite_field(user, 'merges', found[2])
  end
  return result(1, known)
end
if redis.call('GET', KEYS[5]) ~= ARGV[7] then
  return false
end

-- The user's own events, then those of the source that the user does not have, sorted by timestamp.
local events, own, event_ids = {}, redis.call('LRANGE', log, 0, -1), {}
for i, entry in ipairs(own) do
  events[i] = described(entry, '', i)
  event_ids[i] = events[i].event_id
end
local kept = find_fingerprints(user, event_ids)
for _, event in ipairs(events) do
  event.fingerprint = kept[event.event_id] or ''
end
local merge = { source = source, generation = detached.generation, sequence = detached.sequence, moved = 0,
  duplicates = 0, conflicts = 0, pending = 1 }
local offered = {}
event_ids = {}
for i, entry in ipairs(detached.entries) do
  local event = described(entry, detached.fingerprints[i], 0)
  if not known or event.sequence > known.sequence then
    offered[#offered + 1] = event
    event_ids[#event_ids + 1] = event.event_id
  end
end
kept = find_fingerprints(user, event_ids)
for _, event in ipairs(offered) do
  local fingerprint = kept[event.event_id]
  if not fingerprint then
    merge.moved = merge.moved + 1
    event.position = #events + 1
    events[#events + 1] = event
  elseif fingerprint == event.fingerprint then
    merge.duplicates = merge.duplicates + 1
  else
    merge.conflicts = merge.conflicts + 1
  end
end
table.sort(events, function(a, b)
  if a.timestamp ~= b.timestamp then
    return a.timestamp < b.timestamp
  end
  return a.position < b.position
end)

-- From the first displaced event on, events get new sequences (decision 0050).
local sequence, trimmed = unpack_head(found[1])
local versions = unpack_versions(found[3])
local unmoved = 0
while unmoved < #own and events[unmoved + 1].position == unmoved + 1 do
  unmoved = unmoved + 1
end
for i = unmoved + 1, #events do
  sequence = sequence + 1
  events[i].sequence = sequence
end
-- An event's arrival time is at most that of the events behind it, so that retention by age removes the oldest first.
for i = #events - 1, 1, -1 do
  events[i].arrived = math.min(events[i].arrived, events[i + 1].arrived)
end
local removed = math.max(0, #events - keep)
if removed > 0 then
  trimmed = events[removed].sequence
end

merge.result = sequence
table.insert(merges, 1, merge)
-- The first write, which may be refused for lack of memory: see append_and_read.lua.
redis.call('HSET', user, 'merges', pack_merges(merges), 'head', pack_head(sequence, trimmed, ARGV[3]))
redis.call('DEL', log)
local removed_appends, removed_ids, new_ids = {}, {}, {}
for i, event in ipairs(events) do
  if event.position <= #own and (i <= removed or i > unmoved) then
    removed_appends[#removed_appends + 1] = event.append_id
    removed_ids[#removed_ids + 1] = 'e:' .. event.event_id
  end
end
call_in_bulk('XDEL', stream, removed_appends)
call_in_bulk('HDEL', user, removed_ids)
local batch = {}
for i = removed + 1, #events do
  local event = events[i]
  if i > unmoved then
    event.append_id = redis.call('XADD', stream, '*', 'format', FORMAT_TEXT, 'user', ARGV[1], 'seq', event.sequence,
      'item', event.item_id, 'ts', string.format('%.17g', event.timestamp), 'event_id', event.event_id)
    if event.event_id ~= '' then
      new_ids[#new_ids + 1] = 'e:' .. event.event_id
      new_ids[#new_ids + 1] = pack_event_id(string.format('%d', event.sequence), event.fingerprint)
    end
  end
  local arrived_then = tonumber(string.match(event.append_id, '^%d+')) == event.arrived
  batch[#batch + 1] = pack_entry(event.sequence, event.timestamp, event.item_id, event.event_id,
    event.append_id .. (arrived_then and '' or string.format('@%d', event.arrived)))
  if #batch == 1000 or i == #events then
    redis.call('RPUSH', log, unpack(batch))
    batch = {}
  end
end
call_in_bulk('HSET', user, new_ids)
drop_snapshots(user, versions)
redis.call('INCR', deletions)
return result(0, merge)
