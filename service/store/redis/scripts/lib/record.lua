-- Stored values and their format. The first byte of every stored value is its format, 1 today; see layout.py.
local FORMAT = 1

-- Fail unless `value` has the format that this release reads; `kind` names the value for the operator.
local function check_format(value, kind)
  local found = string.byte(value)
  if found ~= FORMAT then
    error(string.format('UNKNOWNFORMAT %s has format %s', kind, tostring(found)))
  end
end

-- A record is an array of fields in MessagePack, after the format byte.
local function pack_record(fields)
  return string.char(FORMAT) .. cmsgpack.pack(fields)
end

local function unpack_record(value, kind)
  check_format(value, kind)
  return cmsgpack.unpack(string.sub(value, 2))
end
