-- Write items of one catalogue shard, in order.
--
-- KEYS     1 items, 2 changes
-- ARGV     1 token of these changes, 2 "1" if an unchanged item must be written too (see lib/replicate.lua),
--          3 number of changes to keep, then for each write: item id, expected revision or "", record
-- Returns  {revision, outcome, newest revision, its token} for each write; an outcome is 0 (unchanged), 1 (changed) or
--          2 (conflict)
--
-- Needs lib/format, replicate, catalogue.
local items, changes = KEYS[1], KEYS[2]
local newest, token = newest_position(changes)
local outcomes = {}
for i = 4, #ARGV, 3 do
  local item_id, expected, record = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local stored = redis.call('HGET', items, item_id)
  local revision = stored and revision_of(stored) or 0
  if expected ~= '' and tonumber(expected) ~= revision then
    outcomes[#outcomes + 1] = { revision, 2, newest, token }
  elseif stored and record_of(stored) == record then
    if ARGV[2] == '1' then
      rewrite_field(items, item_id, stored)
    end
    outcomes[#outcomes + 1] = { revision, 0, newest, token }
  else
    newest, token = newest + 1, ARGV[1]
    add_change(changes, ARGV[3], newest, token, item_id)
    redis.call('HSET', items, item_id, pack_item(newest, record))
    outcomes[#outcomes + 1] = { newest, 1, newest, token }
  end
end
return outcomes
