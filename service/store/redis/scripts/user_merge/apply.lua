-- The third step of a merge: put a parked log among a user's events, in order of the timestamps.
-- KEYS  user hash, log list, shard stream, the shard's count of deletions, the user's pass
-- ARGV  user id, keep, new generation, source's id, parked log (see park.lua) or "" to ask what is known, 1 if it must
--       write, the pass that the log was read under (see redis_merges.py)
-- Returns nil if nothing is known of the source, or if the pass is not valid any more; else 1 if it was merged before or 0, then what follows the sequence in
--         its record, and the source's generation.
--
-- The hash's field `merged` holds a record for each log that came: its user, generation and sequence, events moved, duplicates,
-- conflicts, own sequence afterwards, 1 while the source may be parked still. What was merged comes in only once,
-- however often the log is brought: the same generation up to the same sequence is the same log. settle.lua replaces
-- the id of a source that is done with by its digest.
local user, log, stream = KEYS[1], KEYS[2], KEYS[3]
local keep, source, lasting = tonumber(ARGV[2]), ARGV[4], ARGV[6] == '1'
local found = redis.call('HMGET', user, 'gen', 'seq', 'trimmed', 'merged')
local records = found[4] and cmsgpack.unpack(found[4]) or {}
local parked = ARGV[5] ~= '' and cmsgpack.unpack(ARGV[5])
local known
for i, record in ipairs(records) do
  -- Whoever was slow may bring a log again after the source's next one has come: each generation has its own record.
  if (record[1] == source or record[1] == redis.sha1hex(source)) and (not parked or record[2] == parked[2]) then
    known = table.remove(records, i)
    break
  end
end
if not parked and not known then
  return false
end
if not parked or (known and known[2] == parked[2] and known[3] >= parked[3]) then
  if lasting then
    -- The call that merged it may lack its acknowledgement; WAIT covers what its connection wrote. See visit.lua.
    redis.call('HDEL', user, 'merged')
    redis.call('HSET', user, 'merged', found[4])
  end
  return { 1, known[4], known[5], known[6], known[7], known[2], known[8] }
end

if redis.call('GET', KEYS[5]) ~= ARGV[7] then
  return false
end

local function described(entry, fingerprint, place)
  local number, timestamp, item, event_id, stream_id, arrived = parts(entry)
  return { entry = entry, number = number, timestamp = timestamp, item = item, event_id = event_id,
    stream_id = stream_id, arrived = arrived, fingerprint = fingerprint, place = place }
end

local events, own = {}, redis.call('LRANGE', log, 0, -1)
for i, entry in ipairs(own) do
  events[i] = described(entry, '', i)
  if events[i].event_id ~= '' then
    events[i].fingerprint = string.match(redis.call('HGET', user, 'e:' .. events[i].event_id), '^%d+ (.*)$')
  end
end
local since = known and known[2] == parked[2] and known[3] or 0
local moved, duplicates, conflicts = 0, 0, 0
for i, entry in ipairs(parked[4]) do
  local event = described(entry, parked[5][i], #events + 1)
  local there = event.event_id ~= '' and redis.call('HGET', user, 'e:' .. event.event_id)
  if event.number > since then
    if not there then
      moved = moved + 1
      events[#events + 1] = event
    elseif string.match(there, '^%d+ (.*)$') == event.fingerprint then
      duplicates = duplicates + 1
    else
      conflicts = conflicts + 1
    end
  end
end
table.sort(events, function(a, b)
  if a.timestamp ~= b.timestamp then
    return a.timestamp < b.timestamp
  end
  return a.place < b.place
end)

local sequence, trimmed = tonumber(found[2] or 0), tonumber(found[3] or 0)
local unmoved = 0
while events[unmoved + 1] and events[unmoved + 1].place == unmoved + 1 and unmoved < #own do
  unmoved = unmoved + 1
end
for i = unmoved + 1, #events do
  sequence = sequence + 1
  events[i].number = sequence
end
-- An event counts as having arrived no later than those that stand behind it, so that age too removes the oldest first.
for i = #events - 1, 1, -1 do
  events[i].arrived = math.min(events[i].arrived, events[i + 1].arrived)
end
local cut = math.max(0, #events - keep)
if cut > 0 then
  trimmed = events[cut].number
end

table.insert(records, 1, { source, parked[2], parked[3], moved, duplicates, conflicts, sequence, 1 })
-- The first write, which Redis may refuse for lack of memory: see visit.lua.
redis.call('HSET', user, 'merged', cmsgpack.pack(records), 'gen', ARGV[3], 'seq', sequence, 'trimmed', trimmed)
redis.call('DEL', log)
for i, event in ipairs(events) do
  if event.place <= #own and (i <= cut or i > unmoved) then
    redis.call('XDEL', stream, event.stream_id)
    redis.call('HDEL', user, 'e:' .. event.event_id)
  end
end
local batch = {}
for i = cut + 1, #events do
  local event = events[i]
  if i > unmoved then
    event.stream_id = redis.call('XADD', stream, '*', 'user', ARGV[1], 'seq', event.number, 'item', event.item,
      'ts', string.format('%.17g', event.timestamp), 'event_id', event.event_id)
    if event.event_id ~= '' then
      redis.call('HSET', user, 'e:' .. event.event_id, event.number .. ' ' .. event.fingerprint)
    end
  end
  local late = tonumber(string.match(event.stream_id, '^%d+')) ~= event.arrived
  batch[#batch + 1] = struct.pack('<ddHH', event.number, event.timestamp, #event.item, #event.event_id)
    .. event.item .. event.event_id .. event.stream_id .. (late and string.format('@%d', event.arrived) or '')
  if #batch == 1000 or i == #events then
    redis.call('RPUSH', log, unpack(batch))
    batch = {}
  end
end
local versions = redis.call('HGET', user, 'v')
for _, version in ipairs(versions and cmsgpack.unpack(versions) or {}) do
  redis.call('HDEL', user, 'a:' .. version, 'm:' .. version)
end
redis.call('HDEL', user, 'v')
redis.call('INCR', KEYS[4])
return { 0, moved, duplicates, conflicts, sequence, parked[2], 1 }
