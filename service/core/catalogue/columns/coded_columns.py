"""Columns of strings and sets, as codes of distinct values."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
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
    def array(self) -> GrowingArray[Any]:
        """Stored value of each row."""
        return self.codes

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.codes.nbytes + self.table.nbytes

    @property
    def is_wasteful(self) -> bool:
        """Whether most distinct values are of rows that were replaced."""
        return len(self.table) > _MAX_KNOWN + 2 * len(self.codes.data)

    def codes_of(self, rows: slice | NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the codes of rows."""
        return self.codes.data[rows]


class TextColumn(_CodedColumn):
    """Strings in NFC, as codes of a table of distinct strings."""

    def __init__(self, table: ByteTable | None = None) -> None:
        super().__init__(ByteTable(SEPARATOR) if table is None else table)
        self._known: dict[str | None, int] = {None: 0}

    def compacted(self) -> TextColumn:
        """Return a copy with the strings in use; in any thread."""
        used, codes = renumbered(self.codes.data.copy())
        column = TextColumn(self.table.subset(used))
        column.codes.data = codes
        return column

    def entry(self, code: int) -> bytes:
        """Return the string of a code."""
        return self.table.get(code)

    def encode(self, values: Sequence[str | None]) -> NDArray[np.int32]:
        """Return what to store for some rows."""
        return codes_of_texts(values, self._known, self.table)

    def put(self, row: int, value: Any) -> None:  # noqa: ANN401 - of the column's type
        """Set a row."""
        code = self._known.get(value, -1)
        self.codes.set(row, code if code >= 0 else self.encode([value])[0])

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

    def __init__(self, table: ByteTable | None = None, members: ByteTable | None = None) -> None:
        super().__init__(ByteTable() if table is None else table)
        self.members = ByteTable(SEPARATOR) if members is None else members
        self._known_members: dict[str | None, int] = {}
        self._known_sets: dict[tuple[str, ...] | None, int] = {None: 0}

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return super().nbytes + self.members.nbytes

    def compacted(self) -> SetColumn:
        """Return a copy with the sets in use; in any thread."""
        used, codes = renumbered(self.codes.data.copy())
        members = [self.member_codes(code) for code in used.tolist()]
        flat = np.fromiter(chain.from_iterable(members), np.int32)
        used_members, flat = renumbered(flat)
        column = SetColumn(members=self.members.subset(used_members))
        ends = np.cumsum([0, *map(len, members)])
        spans = zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
        column.table.add_distinct([flat[begin:end].tobytes() for begin, end in spans])
        column.codes.data = codes
        return column

    def encode(self, values: Sequence[tuple[str, ...] | None]) -> NDArray[np.int32]:
        """Return what to store for some rows."""
        known = self._known_sets
        codes = [known.get(value, -1) for value in values]
        missing = [index for index, code in enumerate(codes) if code < 0]
        if missing:
            # NULL is known, so it is never among them.
            new: dict[tuple[str, ...] | None, int] = {values[index]: 0 for index in missing}
            texts = [*chain.from_iterable(value or () for value in new)]
            members = codes_of_texts(texts, self._known_members, self.members).tolist()
            entries, end = [], 0
            for value in new:
                begin, end = end, end + len(value or ())
                entries.append(array("i", sorted(set(members[begin:end]))).tobytes())
            new = dict(zip(new, self.table.intern_many(entries).tolist(), strict=True))
            for index in missing:
                codes[index] = new[values[index]]
            if len(known) < _MAX_KNOWN:
                known.update(new)
        return np.array(codes, np.int32)

    def put(self, row: int, value: Any) -> None:  # noqa: ANN401 - of the column's type
        """Set a row."""
        code = self._known_sets.get(value, -1)
        self.codes.set(row, code if code >= 0 else self.encode([value])[0])

    def get(self, row: int) -> tuple[str, ...] | None:
        """Return the value of a row, or None."""
        code = int(self.codes.data[row])
        return self.members_of(code) if code else None

    def members_of(self, code: int) -> tuple[str, ...]:
        """Return a set, sorted."""
        return tuple(sorted(decode_text(self.members.get(member)) for member in self.member_codes(code)))

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


def renumbered(codes: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the codes in use, ascending, and all codes renumbered.

    0 stays.
    """
    is_used = np.zeros(int(codes.max(initial=0)) + 1, np.bool_)
    is_used[codes] = True
    is_used[0] = False
    numbers = np.cumsum(is_used, dtype=np.int32)
    numbers[~is_used] = 0
    return np.flatnonzero(is_used), numbers[codes]


def codes_of_texts(texts: Sequence[str | None], known: dict[str | None, int], table: ByteTable) -> NDArray[np.int32]:
    """Return the codes of strings, adding those that are missing.

    The first strings of a column are kept as objects too: if there are few, most rows have one of them.
    """
    codes = [known.get(text, -1) for text in texts]
    missing = [index for index, code in enumerate(codes) if code < 0]
    if missing:
        new = [texts[index] or "" for index in missing]
        found = table.intern_many(list(map(encode_text, new))).tolist()
        for index, code in zip(missing, found, strict=True):
            codes[index] = code
        if len(known) < _MAX_KNOWN:
            known.update(zip(new, found, strict=True))
    return np.array(codes, np.int32)


def encode_text(text: str) -> bytes:
    """Return the bytes that stand for a string in columns."""
    return normalize(text).encode("utf-8", "surrogatepass")


def decode_text(entry: bytes) -> str:
    """Return the string of `encode_text`, in NFC."""
    return entry.decode("utf-8", "surrogatepass")
