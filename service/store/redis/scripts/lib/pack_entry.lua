-- Writing of the entries of a user's log; layout.py describes their layout, and reads them in Python. Needs format.lua.

local function pack_entry(sequence, timestamp, item_id, event_id, append_id)
  return struct.pack('<BddHH', FORMAT, sequence, timestamp, #item_id, #event_id) .. item_id .. event_id .. append_id
end
