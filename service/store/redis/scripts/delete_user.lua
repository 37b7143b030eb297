-- Delete everything about a user, or report an unfinished merge or deletion.
--
-- KEYS     1 user hash, 2 log, 3 shard stream, 4 the shard's count of deletions, 5 the shard's detached logs,
--          6 the user's merge token, 7 the detached user's hash, 8 its log
-- ARGV     1 user id, 2 "1" if a repetition must write too (see lib/replicate.lua)
-- Returns  the number of events deleted; or
--          {"more", events} if the log is long: its oldest events are deleted; or
--          {"finalize", source, generation, ...} if merges into the user are not finalized: their logs are still
--          detached and would be applied again after the user's records are gone; or
--          {"emptied", target, generation, events} if the user's log is detached. Nobody reads it any more, but a
--          process that read it before may still apply it, so the caller must revoke the target's token. Then it
--          must discard the log, which takes several runs of a script if the log is long.
--
-- The stream stays even when empty: its last id keeps incremental readers from missing what is appended next.
-- The first write is a removal, which Redis never refuses: a full server still deletes.
local user, log, stream, deletions, detached_logs = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local pending = pending_merges(user)
if #pending > 0 then
  return { 'finalize', unpack(pending) }
end
local value = redis.call('HGET', detached_logs, ARGV[1])
if value then
  local detached = unpack_detached(value)
  local events = detached.entries and #detached.entries or redis.call('LLEN', KEYS[8])
  detached.kept = false
  rewrite_field(detached_logs, ARGV[1], pack_detached(detached))
  return { 'emptied', detached.target, detached.generation, events }
end
local events = redis.call('LLEN', log)
if events > PIECE then
  local sequence, _, generation = unpack_head(redis.call('HGET', user, 'head'))
  local trimmed = remove_oldest(user, log, stream, PIECE)
  redis.call('HSET', user, 'head', pack_head(sequence, trimmed, generation))
  return { 'more', PIECE }
end
if events > 0 then
  remove_streamed(stream, redis.call('LRANGE', log, 0, -1))
end
redis.call('DEL', KEYS[6])
-- An export may still hold events that retention removed here, so a user without events counts as a deletion too.
-- A removal comes before the count: Redis never refuses it, so a full server still deletes.
if redis.call('UNLINK', user, log) > 0 then
  redis.call('INCR', deletions)
elseif ARGV[2] == '1' then
  rewrite_counter(deletions)
end
return events
