-- Store a memo unless the history or a longer memo speaks against it. Returns 1 if stored.
-- KEYS  user hash, log list
-- ARGV  generation, model version, applied, memo, "1" to repair, the stream's id by which the newest event came or ""
-- The first write is one that Redis may refuse for lack of memory: see visit.lua.
local user, version = KEYS[1], ARGV[2]
local applied = tonumber(ARGV[3])
local found = redis.call('HMGET', user, 'gen', 'seq', 'a:' .. version, 'v')
if found[1] ~= ARGV[1] then
  return 0
end
local sequence, stored = tonumber(found[2]), tonumber(found[3])
if applied > sequence then
  return 0
end
-- A failover may have undone the event that was folded, and another has its sequence. The stream's id is the append's own.
if ARGV[6] ~= '' then
  local log = KEYS[2]
  local entry = redis.call('LINDEX', log, -1)
  if entry and struct.unpack('<d', entry) > applied then
    local place = position(log, applied + 1) - 1
    entry = place >= 0 and redis.call('LINDEX', log, place)
  end
  if not entry or append_of(entry) ~= ARGV[6] then
    return 0
  end
end
-- A stored cursor beyond the log counts as no memo, or it would keep every good one out.
if stored and stored >= applied and stored <= sequence and ARGV[5] ~= '1' then
  return 0
end
if stored then
  redis.call('HSET', user, 'a:' .. version, applied, 'm:' .. version, ARGV[4])
  return 1
end
local versions = found[4] and cmsgpack.unpack(found[4]) or {}
table.insert(versions, 1, version)
local dropped = table.remove(versions, 3)
redis.call('HSET', user, 'a:' .. version, applied, 'm:' .. version, ARGV[4], 'v', cmsgpack.pack(versions))
if dropped then
  redis.call('HDEL', user, 'a:' .. dropped, 'm:' .. dropped)
end
return 1
