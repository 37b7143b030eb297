-- Remove a user's expired events. A user without events is deleted, no matter what removed the last one.
--
-- KEYS     1 user hash, 2 log, 3 shard stream, 4 the shard's count of deletions, 5 the user's merge token
-- ARGV     1 time in milliseconds; events that arrived before it are removed
-- Returns  the number of events removed; if PIECE, there may be more
--
-- The first write is a removal, which Redis never refuses: a full server still removes events.
local user, log, stream, deletions = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local sequence, _, generation = unpack_head(redis.call('HGET', user, 'head'))
if not generation then
  return 0
end
local expired, kept = math.min(PIECE, count_expired(log, tonumber(ARGV[1]))), redis.call('LLEN', log)
if expired > 0 then
  local trimmed = remove_oldest(user, log, stream, expired)
  redis.call('HSET', user, 'head', pack_head(sequence, trimmed, generation))
end
-- The records of unfinished merges must stay, or the merged events would be applied again.
if expired == kept and #pending_merges(user) == 0 then
  redis.call('DEL', user, log, KEYS[5])
  redis.call('INCR', deletions)
end
return expired
