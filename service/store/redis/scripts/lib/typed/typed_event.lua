-- Events with a type, a value or a recommendation id; layout.py describes them.

local function has_type(typed)
  return typed ~= '' and string.byte(typed) ~= 44  -- a comma: the event has a value only
end

-- Append an event to the shard's stream. `typed` is "<type>,<value>" or ""; `recommendation` is "" or the credit,
-- a zero byte, and the id. Returns its append id.
local function stream_event(stream, user_id, digits, item_id, timestamp, event_id, typed, recommendation)
  local fields = { 'format', FORMAT_TEXT, 'user', user_id, 'seq', digits, 'item', item_id, 'ts', timestamp,
    'event_id', event_id }
  local function add(name, value)
    if value and value ~= '' then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  add('type', string.match(typed, '^[^,]*'))
  add('value', string.match(typed, ',(.*)$'))
  add('recommendation', string.match(recommendation, '%z(.*)$'))
  add('credit', string.match(recommendation, '^%Z*'))
  return redis.call('XADD', stream, '*', unpack(fields))
end

-- The end of a log entry, from the append id on. `arrived` is in milliseconds, or nil for that of the append.
local function pack_end(append_id, arrived, typed, recommendation)
  if recommendation ~= '' then
    arrived = arrived or string.match(append_id, '^%d+')
    recommendation = '\0' .. recommendation
  end
  return append_id .. (typed ~= '' and '\0' .. typed or '') .. (arrived and '@' .. arrived or '') .. recommendation
end
