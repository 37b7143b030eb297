-- The field `head` of a user's hash; layout.py describes it. Needs format.lua.

local function pack_head(sequence, trimmed, generation)
  return struct.pack('<Bdd', FORMAT, sequence, trimmed) .. generation
end

-- The newest sequence, the newest sequence that retention removed, and the generation, from the field `head`.
-- 0, 0 and nil for an unknown user, who has no such field.
local function unpack_head(head)
  if not head then
    return 0, 0, nil
  end
  if head:byte() ~= FORMAT then
    check_format(head, 'a user')
  end
  local _, sequence, trimmed, start = struct.unpack('<Bdd', head)
  return sequence, trimmed, head:sub(start)
end
