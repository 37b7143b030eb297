-- Formats of stored values. The first byte of every value is its format, 1 today; see layout.py.
local FORMAT, FORMAT_BYTE, FORMAT_TEXT = 1, '\1', '1'

-- Fail unless `value` has the format that this release reads; `kind` names the value for the operator.
-- Frequent readers compare the byte themselves first, because that costs less than the call.
local function check_format(value, kind)
  local found = string.byte(value)
  if found ~= FORMAT then
    error(string.format('UNKNOWNFORMAT %s has format %s', kind, tostring(found)))
  end
end
