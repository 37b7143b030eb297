-- The first step of a merge: take a user's log out of sight and put it down, beside the shard's stream, for another.
-- KEYS  user hash, log list, shard stream, the shard's count of deletions, the shard's parked logs, the user's pass
-- ARGV  user id, whom it is for, 1 if only what is parked already is wanted, and read, 1 if it must write
-- Returns nil if there is nothing to move; {0, source, generation, …} if merges into this user must be finished first;
--         {3, whom it was for, generation} if its user was deleted, which must be finished first (see delete_user.lua);
--         else {1 if it was parked before or 2, whom it is for, generation, parked log if wanted}
-- A parked log: whom it is for, generation, sequence, entries (false once its user is deleted), and for each entry its
-- fingerprint or "".
-- The first write is one that Redis may refuse for lack of memory: see visit.lua.
local user, log, stream, deletions, moving = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local parked = redis.call('HGET', moving, ARGV[1])
if parked then
  if ARGV[4] == '1' then
    -- The call that parked it may lack its acknowledgement; WAIT covers what its connection wrote.
    redis.call('HDEL', moving, ARGV[1])
    redis.call('HSET', moving, ARGV[1], parked)
  end
  local content = cmsgpack.unpack(parked)
  if not content[4] then
    return { 3, content[1], content[2] }
  end
  return { 1, content[1], content[2], ARGV[3] == '1' and parked or nil }
end
local found = redis.call('HMGET', user, 'gen', 'seq')
if not found[1] or ARGV[3] == '1' then
  return false
end
local first = unsettled(user)
if #first > 0 then
  return { 0, unpack(first) }
end
local entries, fingerprints, stream_ids = redis.call('LRANGE', log, 0, -1), {}, {}
for i, entry in ipairs(entries) do
  local _, _, _, event_id, stream_id = parts(entry)
  local known = event_id ~= '' and redis.call('HGET', user, 'e:' .. event_id)
  fingerprints[i] = known and string.match(known, '^%d+ (.*)$') or ''
  stream_ids[i] = stream_id
end
parked = cmsgpack.pack({ ARGV[2], found[1], tonumber(found[2]), entries, fingerprints })
redis.call('HSET', moving, ARGV[1], parked)
for _, stream_id in ipairs(stream_ids) do
  redis.call('XDEL', stream, stream_id)
end
redis.call('DEL', user, log, KEYS[6])
redis.call('INCR', deletions)
return { 2, ARGV[2], found[1] }
