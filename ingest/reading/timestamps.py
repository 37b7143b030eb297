"""Parse times of any common form as int64 nanoseconds since 1970."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
_WITH_OFFSET = r"([zZ]|[-+]\d\d:?\d\d)$"
_DATE = r"^\d{4}-\d\d-\d\d$"
_MAX_NANOSECONDS = 2**63 - 1
_MIN_UNIX_SECONDS = 1e8  # 1973
# Unix times since 1973 do not overlap in these units: a number's size tells its unit.
_UNITS = ((9.2e9, 10**9, "seconds"), (9.2e12, 10**6, "milliseconds"), (9.2e15, 10**3, "microseconds"))


class Times(NamedTuple):
    """Parsed times.

    Attributes:
        nanoseconds: (n,) int64; 0 where a time is bad.
        bad: (n,) bool, what could not be read.
        reason: why the first bad one could not be read; "" without any.
    """

    nanoseconds: NDArray[np.int64]
    bad: NDArray[np.bool_]
    reason: str


class TimeParser:
    """Parses the times of one file, chunk by chunk.

    The first chunk decides the unit of numbers.
    """

    def __init__(self) -> None:
        self._unit: tuple[int, str, float] | None = None  # factor to nanoseconds, name, smallest plausible number

    def parse(self, column: pa.Array) -> Times:
        """Parse a column of any type; nulls are bad."""
        if isinstance(column, pa.DictionaryArray):
            column = column.dictionary_decode()
        kind = column.type
        if pa.types.is_timestamp(kind):
            return _instants(column)
        if pa.types.is_date(kind):
            return _instants(column.cast(pa.timestamp("s")))
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return self._numbers(column)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return self._text(column.cast(pa.string()))
        bad = np.ones(len(column), bool)
        return Times(np.zeros(len(column), np.int64), bad, f"is of type {kind}; write Unix seconds or ISO 8601")

    def _text(self, column: pa.StringArray) -> Times:
        try:  # most files have whole numbers, and a cast is faster than a look at their form
            return self._numbers(column.cast(pa.int64()))
        except pa.ArrowInvalid:
            pass
        numeric = _bools(pc.match_substring_regex(column, _NUMBER))
        if numeric.all():
            return self._numbers(_as_numbers(column))
        if 2 * numeric.sum() > len(column):
            return self._numbers(_as_numbers(pc.if_else(pa.array(numeric), column, pa.scalar(None, pa.string()))))
        return _parse_iso(column)

    def _numbers(self, column: pa.Array) -> Times:
        missing = _bools(column.is_null())
        whole = pa.types.is_integer(column.type)
        values = (
            column.cast(pa.int64() if whole else pa.float64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)
        )
        finite = np.isfinite(values) & ~missing
        if self._unit is None and finite.any():
            self._unit = _unit_of(float(np.median(np.abs(values[finite].astype(np.float64)))))
        factor, name, smallest = self._unit or (*_UNITS[0][1:], 0.0)
        sizes = np.abs(values.astype(np.float64))
        of_smaller_unit = (sizes >= _MIN_UNIX_SECONDS) & (sizes < smallest)
        bad = ~finite | of_smaller_unit | (sizes > _MAX_NANOSECONDS // factor)
        kept = np.where(bad, 0, values)
        scaled = kept.astype(np.int64) * factor if whole else _scale(kept, factor)
        reason = f"is no time in {name}, as most times of the file are" if bad.any() else ""
        return Times(scaled, bad, reason)


def _scale(values: NDArray[np.float64], factor: int) -> NDArray[np.int64]:
    """Scale integer and fraction separately to keep nanosecond order."""
    whole = np.floor(values)
    return whole.astype(np.int64) * factor + np.round((values - whole) * factor).astype(np.int64)


def _unit_of(typical: float) -> tuple[int, str, float]:
    smallest = 0.0
    for limit, factor, name in _UNITS:
        if typical < limit:
            return factor, name, smallest
        smallest = limit
    return 1, "nanoseconds", smallest


def _as_numbers(column: pa.StringArray) -> pa.Array:
    stripped = pc.utf8_trim_whitespace(column)
    try:
        return stripped.cast(pa.int64())
    except pa.ArrowInvalid:
        return stripped.cast(pa.float64())


def _parse_iso(column: pa.StringArray) -> Times:
    """Parse ISO 8601 dates and times; without an offset they are UTC."""
    text = pc.utf8_trim_whitespace(column)
    text = pc.replace_substring_regex(text, r"\s*UTC$", "Z")
    text = pc.replace_substring_regex(text, r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3")
    text = pc.replace_substring_regex(text, r"([-+]\d\d)(\d\d)$", r"\1:\2")
    day = _bools(pc.match_substring_regex(text, _DATE))
    zoned = _bools(pc.match_substring_regex(text, _WITH_OFFSET)) & ~day
    result = np.zeros(len(text), np.int64)
    bad = np.ones(len(text), bool)
    for mask, kind in ((zoned, pa.timestamp("ns", "UTC")), (~zoned, pa.timestamp("ns"))):
        where = np.flatnonzero(mask)
        if len(where):
            found, wrong = _cast(text.take(pa.array(where)), kind)
            result[where], bad[where] = found, wrong
    return Times(result, bad, "is neither Unix seconds nor ISO 8601" if bad.any() else "")


def _cast(text: pa.StringArray, kind: pa.DataType) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Cast the values that can be, and mark the others.

    Arrow refuses a whole array for one bad value, so halves are tried.
    """
    try:
        cast = text.cast(kind)
        missing = _bools(cast.is_null())
        return cast.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), missing
    except pa.ArrowInvalid:
        if len(text) == 1:
            return np.zeros(1, np.int64), np.ones(1, bool)
    middle = len(text) // 2
    left, right = _cast(text.slice(0, middle), kind), _cast(text.slice(middle), kind)
    return np.concatenate([left[0], right[0]]), np.concatenate([left[1], right[1]])


def _instants(column: pa.TimestampArray) -> Times:
    missing = _bools(column.is_null())
    factor = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[column.type.unit]
    values: NDArray[Any] = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    bad = missing | (np.abs(values.astype(np.float64)) > _MAX_NANOSECONDS // factor)
    reason = "is missing, or outside the years 1678 to 2261" if bad.any() else ""
    return Times(np.where(bad, 0, values) * factor, bad, reason)


def _bools(array: pa.BooleanArray) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = array.fill_null(False).to_numpy(zero_copy_only=False)
    return result
