-- Records of merges: detached logs, in a hash of the source's shard, and the field `merges` of the target's hash.
-- Needs record.lua. merge_protocol.py describes the protocol.

local DETACHED_FORMAT = 2

-- A log on its way to `target`. `kept` is false once the source was deleted.
local function pack_detached(log)
  return string.char(DETACHED_FORMAT) .. cmsgpack.pack({ log.target, log.generation, log.sequence, log.kept })
end

-- A record of format 1, of earlier releases, has the log itself: `entries`, or false, and their `fingerprints`.
local function unpack_detached(value)
  if value:byte() == DETACHED_FORMAT then
    local fields = cmsgpack.unpack(string.sub(value, 2))
    return { target = fields[1], generation = fields[2], sequence = fields[3], kept = fields[4] }
  end
  local fields = unpack_record(value, 'a detached log')
  return { target = fields[1], generation = fields[2], sequence = fields[3], kept = fields[4] and true,
    entries = fields[4], fingerprints = fields[5] }
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

-- Index and record of the newest merge of a source's log, or of any log of the source if `generation` is "".
-- A slow process may bring a log after the source's next log was applied: each generation has its own record.
local function find_merge(merges, source, generation)
  local digest = redis.sha1hex(source)
  for i, merge in ipairs(merges) do
    if (merge.source == source or merge.source == digest) and (generation == '' or merge.generation == generation) then
      return i, merge
    end
  end
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
