-- The vector revision of a snapshot, 0 without a mark: core/new_items/vector_mark.py.
local function vector_revision(snapshot)
  local format, parts = string.byte(snapshot, 1, 2)
  if #snapshot < 32 or format ~= 1 or (parts ~= 2 and parts ~= 3) then
    return 0
  end
  return (struct.unpack('<d', snapshot, 25))
end
