-- Records: arrays of fields in MessagePack, after the format byte. Needs format.lua.

local function pack_record(fields)
  return FORMAT_BYTE .. cmsgpack.pack(fields)
end

local function unpack_record(value, kind)
  check_format(value, kind)
  return cmsgpack.unpack(string.sub(value, 2))
end
