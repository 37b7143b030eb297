-- Vectors of new items: see layout.py. Needs format.lua.
local TOKEN_START, VECTOR_START = 10, 26

local function pack_vector(number, token, vector)
  return FORMAT_BYTE .. struct.pack('<d', number) .. token .. vector
end

local function vector_token(value)
  check_format(value, "an item's vector")
  return string.sub(value, TOKEN_START, VECTOR_START - 1)
end
