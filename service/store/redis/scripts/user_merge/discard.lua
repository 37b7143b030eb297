-- Step 8 of a merge: delete a part of a detached log that was applied. Returns 1 if more is left, else 0.
--
-- KEYS  1 the shard's detached logs, 2 shard stream, 3 the shard's count of deletions, 4 the detached user's hash,
--       5 its log
-- ARGV  1 source's id, 2 generation of the applied log, 3 "1" if a repetition must write too (see lib/replicate.lua)
--
-- A log of another generation was detached since; it stays. The events were removed from the stream before, unless a
-- failover has undone that.
local value = redis.call('HGET', KEYS[1], ARGV[1])
if value and unpack_detached(value).generation == ARGV[2] then
  local entries = redis.call('LPOP', KEYS[5], PIECE) or {}
  if #entries > 0 then
    remove_streamed(KEYS[2], entries)
  end
  if #entries == PIECE then
    return 1
  end
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('UNLINK', KEYS[4])
elseif ARGV[3] == '1' then
  rewrite_counter(KEYS[3])
end
return 0
