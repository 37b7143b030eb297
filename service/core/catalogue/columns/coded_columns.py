"""Columns of strings and sets, as codes of distinct values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.attributes import normalize
from service.core.catalogue.columns.byte_table import ByteTable
from service.core.catalogue.columns.growing_array import GrowingArray

SEPARATOR = b"\xff"  # is in no UTF-8
_CODE_BYTES = 4
_MAX_KNOWN = 4096  # strings or sets of a column that are also kept as objects


class _CodedColumn:
    """Column of codes, which number the distinct values of a table.

    Attributes:
        codes: Code of each row's value, 0 for NULL.
        table: Distinct values.
    """

    def __init__(self, table: ByteTable) -> None:
        self.codes = GrowingArray(np.int32)
        self.table = table

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.codes.data.nbytes + self.table.nbytes

    def resize(self, capacity: int) -> None:
        """Make room."""
        self.codes.resize(capacity)

    @property
    def is_wasteful(self) -> bool:
        """Whether most distinct values are of rows that were replaced."""
        return len(self.table) > _MAX_KNOWN + 2 * len(self.codes.data)

    def codes_of(self, rows: slice | NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the codes of rows."""
        return self.codes.data[rows]


class TextColumn(_CodedColumn):
    """Strings in NFC, as codes of a table of distinct strings."""

    def __init__(self) -> None:
        super().__init__(ByteTable(SEPARATOR))
        self._known: dict[str, int] = {}

    def compacted(self) -> TextColumn:
        """Return a copy with the strings in use."""
        column, used = TextColumn(), used_codes(self.codes)
        column.table = self.table.subset(used)
        column.codes.data = renumbered(self.codes.data, used)
        return column

    def entry(self, code: int) -> bytes:
        """Return the string of a code."""
        return self.table.get(code)

    def put(self, row: int, value: Any) -> None:  # noqa: ANN401 - of the column's type
        """Set a row."""
        self.codes.data[row] = 0 if value is None else code_of(value, self._known, self.table)

    def get(self, row: int) -> str | None:
        """Return the value of a row, or None."""
        code = int(self.codes.data[row])
        return decode_text(self.table.get(code)) if code else None


class SetColumn(_CodedColumn):
    """Sets of strings, as codes of a table of distinct sets.

    An entry of the table holds the sorted int32 codes of a set's members.

    Attributes:
        members: Distinct members of any set.
    """

    def __init__(self) -> None:
        super().__init__(ByteTable())
        self.members = ByteTable(SEPARATOR)
        self._known_members: dict[str, int] = {}
        self._known_sets: dict[tuple[str, ...], int] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return super().nbytes + self.members.nbytes

    def compacted(self) -> SetColumn:
        """Return a copy with the sets in use."""
        column, used = SetColumn(), used_codes(self.codes)
        members = [self.member_codes(code) for code in used.tolist()]
        used_members = np.unique(np.concatenate([np.zeros(0, np.int64), *map(np.array, members)])).astype(np.int64)
        column.members = self.members.subset(used_members)
        column.table.add_distinct(
            [renumbered(np.array(codes, np.int32), used_members).tobytes() for codes in members]
        )
        column.codes.data = renumbered(self.codes.data, used)
        return column

    def put(self, row: int, value: Any) -> None:  # noqa: ANN401 - of the column's type
        """Set a row."""
        self.codes.data[row] = 0 if value is None else self._known_sets.get(value) or self._intern(value)

    def get(self, row: int) -> tuple[str, ...] | None:
        """Return the value of a row, or None."""
        code = int(self.codes.data[row])
        return self.members_of(code) if code else None

    def members_of(self, code: int) -> tuple[str, ...]:
        """Return a set, sorted."""
        return tuple(sorted(decode_text(self.members.get(member)) for member in self.member_codes(code)))

    def _intern(self, value: tuple[str, ...]) -> int:
        members = sorted({code_of(member, self._known_members, self.members) for member in value})
        code = self.table.intern(np.array(members, np.int32).tobytes())
        if len(self._known_sets) < _MAX_KNOWN:
            self._known_sets[value] = code
        return code

    def member_codes(self, code: int) -> list[int]:
        """Return the codes of a set's members, ascending."""
        codes: list[int] = np.frombuffer(self.table.get(code), np.int32).tolist()
        return codes

    def sets_with(self, member: int) -> NDArray[np.bool_]:
        """Return for every code whether its set has the member."""
        view = self.table.view()
        selected = np.zeros(view.size + 1, np.bool_)
        if member:
            starts = view.starts[1 : view.size + 2] // _CODE_BYTES
            members = view.content[: view.starts[view.size + 1]].view(np.int32)
            selected[np.searchsorted(starts, np.flatnonzero(members == member), side="right")] = True
        return selected


def used_codes(codes: GrowingArray[np.int32]) -> NDArray[np.int64]:
    """Return the codes in use, ascending, without 0."""
    found = np.unique(codes.data).astype(np.int64)
    return found[found > 0]


def renumbered(codes: NDArray[np.int32], used: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return codes as numbered in the subset `used`; 0 stays."""
    return np.where(codes > 0, np.searchsorted(used, codes) + 1, 0).astype(np.int32)


def code_of(text: str, known: dict[str, int], table: ByteTable) -> int:
    """Return the code of a string, adding it if needed.

    The first strings of a column are kept as objects too: if there are few, most rows have one of them.
    """
    code = known.get(text)
    if code is None:
        code = table.intern(encode_text(text))
        if len(known) < _MAX_KNOWN:
            known[text] = code
    return code


def encode_text(text: str) -> bytes:
    """Return the bytes that stand for a string in columns."""
    return normalize(text).encode("utf-8", "surrogatepass")


def decode_text(entry: bytes) -> str:
    """Return the string of `encode_text`, in NFC."""
    return entry.decode("utf-8", "surrogatepass")
