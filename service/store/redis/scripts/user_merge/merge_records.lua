-- Records of merges: detached logs, in a hash of the source's shard, and the field `merges` of the target's hash.
-- Needs record.lua. user_merge.py describes the protocol.

-- A log on its way to `target`. `entries` is false once the source was deleted.
local function pack_detached(log)
  return pack_record({ log.target, log.generation, log.sequence, log.entries, log.fingerprints })
end

local function unpack_detached(value)
  local fields = unpack_record(value, 'a detached log')
  return { target = fields[1], generation = fields[2], sequence = fields[3], entries = fields[4],
    fingerprints = fields[5] }
end

-- The merges into a user, newest first. Each has the source's id (its SHA-1 once finalized), generation and sequence;
-- the numbers of events moved, duplicates and conflicts; the target's sequence afterwards (`result`); and `pending`, 1
-- while the source's log may still be detached.
local function unpack_merges(value)
  local merges = {}
  for i, fields in ipairs(value and unpack_record(value, 'a list of merges') or {}) do
    merges[i] = { source = fields[1], generation = fields[2], sequence = fields[3], moved = fields[4],
      duplicates = fields[5], conflicts = fields[6], result = fields[7], pending = fields[8] }
  end
  return merges
end

local function pack_merges(merges)
  local list = {}
  for i, merge in ipairs(merges) do
    list[i] = { merge.source, merge.generation, merge.sequence, merge.moved, merge.duplicates, merge.conflicts,
      merge.result, merge.pending }
  end
  return pack_record(list)
end

-- Merges into a user whose source's log may still be detached: source, generation, source, generation, ...
-- The user's records of them must stay that long, or the log would be applied a second time.
local function pending_merges(user)
  local found = {}
  for _, merge in ipairs(unpack_merges(redis.call('HGET', user, 'merges'))) do
    if merge.pending == 1 then
      found[#found + 1] = merge.source
      found[#found + 1] = merge.generation
    end
  end
  return found
end
