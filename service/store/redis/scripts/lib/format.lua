-- Formats of stored values. The first byte of every value is its format, 1 today; see layout.py.
local FORMAT, FORMAT_BYTE, FORMAT_TEXT = 1, '\1', '1'

-- Fail because `value` has a format that this release cannot read; `kind` names the value for the operator.
-- Readers compare the first byte themselves, because a call costs more than the comparison.
local function refuse_format(value, kind)
  error(string.format('UNKNOWNFORMAT %s has format %s', kind, tostring(string.byte(value))))
end
