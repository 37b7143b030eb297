-- Items and changes of a catalogue shard: see layout.py. Needs format.lua.

-- Return revision, token and name of an entry of a stream of changes.
local function unpack_change(entry)
  local fields = entry[2]
  if fields[1] ~= 'format' or fields[2] ~= tostring(FORMAT) then
    error(string.format('UNKNOWNFORMAT a change of the catalogue has format %s', tostring(fields[2])))
  end
  return tonumber(string.match(entry[1], '^%d+')), fields[4], fields[6]
end

-- Return revision and token of the newest change; 0 and "" before the first.
local function newest_position(changes)
  local entry = redis.call('XREVRANGE', changes, '+', '-', 'COUNT', 1)[1]
  if not entry then
    return 0, ''
  end
  local revision, token = unpack_change(entry)
  return revision, token
end

local function change_id(revision)
  return string.format('%.0f-0', revision)
end

-- Add a change. Its first write is an XADD, which Redis may refuse for lack of memory: see append_and_read.lua.
local function add_change(changes, kept, revision, token, name)
  redis.call('XADD', changes, 'MAXLEN', '~', kept, change_id(revision), 'format', FORMAT, 'token', token,
    'name', name)
end

local function pack_item(revision, record)
  return FORMAT_BYTE .. struct.pack('<d', revision) .. record
end

local function revision_of(item)
  check_format(item, 'an item of the catalogue')
  return (struct.unpack('<d', item, 2))
end

local function record_of(item)
  return string.sub(item, 10)
end
