-- The vector revision of a snapshot, 0 without a mark: core/new_items/vector_mark.py.
local function vector_revision(snapshot)
  if string.byte(snapshot) ~= 2 or #snapshot < 32 then
    return 0
  end
  return (struct.unpack('<d', snapshot, 25))
end
