"""Parse times of any common form as int64 nanoseconds since 1970."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.reading.values.array_bytes import holds_bytes
from ingest.reading.values.calendar_numbers import calendar_digits, parse_calendar
from ingest.reading.values.iso_times import parse_iso

_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
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

    def __init__(self, time_format: str | None = None) -> None:
        """Parse text by a format of `strptime`, if there is one."""
        self._format = time_format
        self._unit: tuple[int, str, float] | None = None  # factor to nanoseconds, name, smallest plausible number
        self._calendar_digits = 0  # of numbers such as 20200913, which are dates

    def parse(self, column: pa.Array) -> Times:
        """Parse a column of any type; nulls are bad."""
        if isinstance(column, pa.DictionaryArray):
            column = column.dictionary_decode()
        times = self._parse(column)
        if times.reason and not column[int(np.argmax(times.bad))].is_valid:
            return times._replace(reason="is missing")
        return times

    def _parse(self, column: pa.Array) -> Times:
        kind = column.type
        if pa.types.is_timestamp(kind):
            return _instants(column)
        if pa.types.is_date(kind):
            return _instants(column.cast(pa.timestamp("s")))
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return self._numbers(column)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            text = column.cast(pa.string())
            return self._text(text) if self._format is None else _formatted(text, self._format)
        bad = np.ones(len(column), bool)
        return Times(np.zeros(len(column), np.int64), bad, f"is of type {kind}; write Unix seconds or ISO 8601")

    def _text(self, column: pa.StringArray) -> Times:
        # Most files have whole numbers, and a cast is faster than a look at their form. It reads hexadecimals too.
        if not holds_bytes(column, b"xX"):
            with contextlib.suppress(pa.ArrowInvalid):
                return self._numbers(column.cast(pa.int64()))
        numeric = _bools(pc.match_substring_regex(column, _NUMBER))
        if numeric.all():
            return self._numbers(_as_numbers(column))
        if 2 * numeric.sum() > len(column):
            return self._numbers(_as_numbers(pc.if_else(pa.array(numeric), column, pa.scalar(None, pa.string()))))
        nanoseconds, bad = parse_iso(column)
        return Times(
            nanoseconds,
            bad,
            "is neither Unix seconds nor ISO 8601 (--time-format names another form)" if bad.any() else "",
        )

    def _numbers(self, column: pa.Array) -> Times:
        missing = _bools(column.is_null())
        whole = pa.types.is_integer(column.type) and column.type != pa.uint64()  # whose largest would turn negative
        values = (
            column.cast(pa.int64() if whole else pa.float64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)
        )
        finite = np.isfinite(values) & ~missing
        if self._unit is None and finite.any():
            self._calendar_digits = calendar_digits(values[finite])
            self._unit = _unit_of(float(np.median(np.abs(values[finite].astype(np.float64)))))
        if self._calendar_digits:
            nanoseconds, bad = parse_calendar(np.where(finite, values, 0), self._calendar_digits)
            form = "YYYYMMDDhhmmss"[: self._calendar_digits]
            return Times(
                nanoseconds, bad, f"is no time of the form {form}, as the first ones are" if bad.any() else ""
            )
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


def _formatted(column: pa.StringArray, time_format: str) -> Times:
    text = pc.utf8_trim_whitespace(column)
    found = _instants(pc.strptime(text, format=time_format, unit="us", error_is_null=True))
    return found._replace(reason=f"is no time of the form {time_format}" if found.reason else "")


def _as_numbers(column: pa.StringArray) -> pa.Array:
    stripped = pc.utf8_trim_whitespace(column)
    try:
        return stripped.cast(pa.int64())
    except pa.ArrowInvalid:
        return stripped.cast(pa.float64())


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
