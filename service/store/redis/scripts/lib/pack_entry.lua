-- Writing of the entries of a user's log and of its event ids; layout.py describes them. Needs format.lua.

local function pack_entry(sequence, timestamp, item_id, event_id, append_id)
  return struct.pack('<BddHH', FORMAT, sequence, timestamp, #item_id, #event_id) .. item_id .. event_id .. append_id
end

-- The value of a field `e:<event id>`. Fingerprints have 16 characters; `digits` is the sequence as text.
local function pack_event_id(digits, fingerprint)
  return FORMAT_BYTE .. fingerprint .. digits
end
