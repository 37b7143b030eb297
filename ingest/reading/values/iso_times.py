"""Parse ISO 8601 text, also as Arrow does not know it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# Each spelling, and what Arrow parses instead; in this order.
_SPELLINGS = (
    (r"^(\d{4})[-/]?(\d\d)[-/]?(\d\d)", r"\1-\2-\3"),
    (r"^(.{10})(?:\s*[tT]\s*|\s+)(\d\d):?(\d\d)", r"\1T\2:\3"),
    (r"^(.{16})(\d\d)", r"\1:\2"),
    (r"^(.{19}),", r"\1."),
    (r"^(.{16}.*?)\s*(?:UTC|GMT|[zZ])$", r"\1Z"),
    (r"^(.{16}.*?)\s*([-+]\d\d)$", r"\1\2:00"),
    (r"^(.{16}.*?)\s*([-+]\d\d):?(\d\d)$", r"\1\2:\3"),
)
_WITH_OFFSET = r"(Z|[-+]\d\d:\d\d)$"
_LOCAL, _ZONED = pa.timestamp("ns"), pa.timestamp("ns", "UTC")


def parse_iso(column: pa.StringArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Parse ISO 8601 dates and times; without an offset they are UTC.

    Returns:
        Nanoseconds since 1970, and what could not be parsed.
    """
    for kind in (_LOCAL, _ZONED):  # most files spell all times alike
        try:
            return _instants(column.cast(kind))
        except pa.ArrowInvalid:
            continue
    text = pc.utf8_trim_whitespace(column)
    for spelling, parsed in _SPELLINGS:
        text = pc.replace_substring_regex(text, spelling, parsed)
    zoned = pc.match_substring_regex(text, _WITH_OFFSET).fill_null(False).to_numpy(zero_copy_only=False)
    result, bad = np.zeros(len(text), np.int64), np.ones(len(text), bool)
    for mask, kind in ((zoned, _ZONED), (~zoned, _LOCAL)):
        where = np.flatnonzero(mask)
        if len(where):
            result[where], bad[where] = _cast(text.take(pa.array(where)), kind)
    return result, bad


def _cast(text: pa.StringArray, kind: pa.DataType) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Cast the values that can be, and mark the others.

    Arrow refuses a whole array for one bad value, so halves are tried.
    """
    try:
        return _instants(text.cast(kind))
    except pa.ArrowInvalid:
        if len(text) == 1:
            return np.zeros(1, np.int64), np.ones(1, bool)
    middle = len(text) // 2
    left, right = _cast(text.slice(0, middle), kind), _cast(text.slice(middle), kind)
    return np.concatenate([left[0], right[0]]), np.concatenate([left[1], right[1]])


def _instants(times: pa.TimestampArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    missing: NDArray[np.bool_] = times.is_null().to_numpy(zero_copy_only=False)
    nanoseconds: NDArray[np.int64] = times.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return nanoseconds, missing
