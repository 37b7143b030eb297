-- Return the result of an earlier merge, or nil if nothing is known about it.
--
-- KEYS     1 user hash
-- ARGV     1 source's id, 2 generation of its log, or "" for its newest merge,
--          3 "1" if the request must write (see lib/replicate.lua)
-- Returns  events moved, duplicates, conflicts, the user's sequence afterwards, the source's generation,
--          1 if the merge is pending or 0
local value = redis.call('HGET', KEYS[1], 'merges')
local _, merge = find_merge(unpack_merges(value), ARGV[1], ARGV[2])
if not merge then
  return false
end
if ARGV[3] == '1' then
  rewrite_field(KEYS[1], 'merges', value)
end
return { merge.moved, merge.duplicates, merge.conflicts, merge.result, merge.generation, merge.pending }
