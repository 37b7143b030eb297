-- Step 9 of a merge: mark the target's record as finished, and remove the oldest finished records. Returns 1.
--
-- KEYS  1 user hash, 2 the user's merge token
-- ARGV  1 source's id, 2 its generation, 3 number of finished records to keep
--
-- A finished record names its source by a digest: the source is no user any more. Removing a record also deletes the token.
local value = redis.call('HGET', KEYS[1], 'merges')
local kept, finished = {}, 0
for _, merge in ipairs(unpack_merges(value)) do
  if merge.source == ARGV[1] and merge.generation == ARGV[2] then
    merge.source, merge.pending = redis.sha1hex(ARGV[1]), 0
  end
  finished = finished + 1 - merge.pending
  if merge.pending == 1 or finished <= tonumber(ARGV[3]) then
    kept[#kept + 1] = merge
  else
    redis.call('DEL', KEYS[2])
  end
end
if value then
  rewrite_field(KEYS[1], 'merges', pack_merges(kept))
end
return 1
