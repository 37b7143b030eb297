"""Columns: one attribute of all items, by row.

A thread may read a column while the event loop writes to it. Arrays are only replaced by larger copies, so such a
thread sees for each row the old or the new value; rows that changed meanwhile are evaluated again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.attributes import AttributeType, from_microseconds, normalize, to_microseconds
from service.core.catalogue.columns.byte_table import ByteTable
from service.core.catalogue.columns.growing_array import GrowingArray

SEPARATOR = b"\xff"  # is in no UTF-8
NULL_TIME = np.iinfo(np.int64).min
NULL_BOOL = -1
_CODE_BYTES = 4


class NumberColumn:
    """Numbers; NULL is NaN, because values are finite."""

    def __init__(self) -> None:
        self.values = GrowingArray(np.float64, np.nan)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.values.data.nbytes

    def resize(self, capacity: int) -> None:
        """Make room."""
        self.values.resize(capacity)

    def put(self, row: int, value: Any) -> None:  # noqa: ANN401 - of the column's type
        """Set a row."""
        self.values.data[row] = np.nan if value is None else value

    def get(self, row: int) -> float | None:
        """Return the value of a row, or None."""
        value = float(self.values.data[row])
        return None if value != value else value  # noqa: PLR0124 - NaN


class BoolColumn:
    """True, false or -1 for NULL."""

    def __init__(self) -> None:
        self.values = GrowingArray(np.int8, NULL_BOOL)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.values.data.nbytes

    def resize(self, capacity: int) -> None:
        """Make room."""
        self.values.resize(capacity)

    def put(self, row: int, value: Any) -> None:  # noqa: ANN401 - of the column's type
        """Set a row."""
        self.values.data[row] = NULL_BOOL if value is None else value

    def get(self, row: int) -> bool | None:
        """Return the value of a row, or None."""
        value = self.values.data[row]
        return None if value == NULL_BOOL else bool(value)


class TimeColumn:
    """Microseconds since 1970, UTC; NULL is the smallest number."""

    def __init__(self) -> None:
        self.values = GrowingArray(np.int64, NULL_TIME)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.values.data.nbytes

    def resize(self, capacity: int) -> None:
        """Make room."""
        self.values.resize(capacity)

    def put(self, row: int, value: Any) -> None:  # noqa: ANN401 - of the column's type
        """Set a row."""
        self.values.data[row] = NULL_TIME if value is None else to_microseconds(value)

    def get(self, row: int) -> datetime | None:
        """Return the value of a row, or None."""
        value = int(self.values.data[row])
        return None if value == NULL_TIME else from_microseconds(value)


class TextColumn:
    """Strings in NFC, as codes of a table of distinct strings."""

    def __init__(self) -> None:
        self.codes = GrowingArray(np.int32)
        self.table = ByteTable(SEPARATOR)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.codes.data.nbytes + self.table.nbytes

    def resize(self, capacity: int) -> None:
        """Make room."""
        self.codes.resize(capacity)

    def codes_of(self, rows: slice | NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the codes of rows."""
        return self.codes.data[rows]

    def entry(self, code: int) -> bytes:
        """Return the string of a code."""
        return self.table.get(code)

    def put(self, row: int, value: Any) -> None:  # noqa: ANN401 - of the column's type
        """Set a row."""
        self.codes.data[row] = 0 if value is None else self.table.intern(encode_text(value))

    def get(self, row: int) -> str | None:
        """Return the value of a row, or None."""
        code = int(self.codes.data[row])
        return decode_text(self.table.get(code)) if code else None


class SetColumn:
    """Sets of strings, as codes of a table of distinct sets.

    Attributes:
        codes: Code of each row's set, 0 for NULL.
        sets: Distinct sets: the sorted int32 codes of their members.
        members: Distinct members of any set.
    """

    def __init__(self) -> None:
        self.codes = GrowingArray(np.int32)
        self.sets = ByteTable()
        self.members = ByteTable(SEPARATOR)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.codes.data.nbytes + self.sets.nbytes + self.members.nbytes

    def resize(self, capacity: int) -> None:
        """Make room."""
        self.codes.resize(capacity)

    def codes_of(self, rows: slice | NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the codes of rows."""
        return self.codes.data[rows]

    def put(self, row: int, value: Any) -> None:  # noqa: ANN401 - of the column's type
        """Set a row."""
        if value is None:
            self.codes.data[row] = 0
            return
        members = sorted({self.members.intern(encode_text(member)) for member in value})
        self.codes.data[row] = self.sets.intern(np.array(members, np.int32).tobytes())

    def get(self, row: int) -> tuple[str, ...] | None:
        """Return the value of a row, or None."""
        code = int(self.codes.data[row])
        return self.members_of(code) if code else None

    def members_of(self, code: int) -> tuple[str, ...]:
        """Return a set, sorted."""
        return tuple(sorted(decode_text(self.members.get(member)) for member in self.member_codes(code)))

    def member_codes(self, code: int) -> list[int]:
        """Return the codes of a set's members, ascending."""
        codes: list[int] = np.frombuffer(self.sets.get(code), np.int32).tolist()
        return codes

    def sets_with(self, member: int) -> NDArray[np.bool_]:
        """Return for every code whether its set has the member."""
        view = self.sets.view()
        selected = np.zeros(view.size + 1, np.bool_)
        if member:
            starts = view.starts[1 : view.size + 2] // _CODE_BYTES
            members = view.content[: view.starts[view.size + 1]].view(np.int32)
            selected[np.searchsorted(starts, np.flatnonzero(members == member), side="right")] = True
        return selected


def encode_text(text: str) -> bytes:
    """Return the bytes that stand for a string in columns."""
    return normalize(text).encode("utf-8", "surrogatepass")


def decode_text(entry: bytes) -> str:
    """Return the string of `encode_text`, in NFC."""
    return entry.decode("utf-8", "surrogatepass")


Column = NumberColumn | BoolColumn | TimeColumn | TextColumn | SetColumn

COLUMN_TYPES: Mapping[AttributeType, type[Column]] = {
    AttributeType.BOOL: BoolColumn,
    AttributeType.NUMBER: NumberColumn,
    AttributeType.STRING: TextColumn,
    AttributeType.STRINGS: SetColumn,
    AttributeType.TIME: TimeColumn,
}
