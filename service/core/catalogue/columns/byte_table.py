"""Table of distinct byte strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.entry_hash import PROCESS_KEY, HashKey
from service.core.catalogue.columns.growing_array import GrowingArray
from service.core.catalogue.columns.hash_slots import HashSlots

WORD_BYTES = 8
_BLOCK = 1 << 13


class TableView(NamedTuple):
    """Entries of a table at one moment.

    Stays readable while the table grows.

    Attributes:
        size: Number of entries.
        content: (bytes,) uint8, all entries one after another, each followed by the table's separator.
        starts: (size + 2,) int64; entry `c` begins at starts[c]. Codes begin at 1.
        gap: Length of the separator.
    """

    size: int
    content: NDArray[np.uint8]
    starts: NDArray[np.int64]
    gap: int

    def words(
        self, codes: slice | NDArray[np.int64], offset: int = 0, length: int = WORD_BYTES
    ) -> NDArray[np.uint64]:
        """Return bytes of entries as numbers, which sort alike.

        Args:
            codes: the entries.
            offset: the first byte.
            length: number of bytes, up to eight; an entry that ends before is filled up with zeros.
        """
        starts = self.starts[: self.size + 2]
        begins, ends = starts[:-1][codes] + offset, starts[1:][codes] - self.gap
        result = np.zeros(len(begins), np.uint64)
        for index in range(length):
            found = self.content.take(begins + index, mode="clip")
            found[begins + index >= ends] = 0
            result |= found.astype(np.uint64) << np.uint64(8 * (WORD_BYTES - 1 - index))
        return result


class ByteTable:
    """Distinct byte strings, numbered from 1 in the order of arrival.

    All entries stand in one array, which takes a fraction of the memory of a dict of objects. Code 0 stands for no
    entry. Entries are never removed.
    """

    def __init__(self, separator: bytes = b"", key: HashKey = PROCESS_KEY) -> None:
        """Create an empty table; `separator` follows each entry."""
        self.key = key
        self._separator = separator
        self._count = 0
        self._content = GrowingArray(np.uint8)
        self._starts = GrowingArray(np.int64)
        self._hashes = GrowingArray(np.int64)
        self._slots = HashSlots()
        self._content.reserve(1)
        self._hashes.reserve(1)
        self._starts.reserve(2)

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return sum(part.nbytes for part in (self._content, self._starts, self._hashes, self._slots))

    def view(self) -> TableView:
        """Return the present entries."""
        return TableView(self._count, self._content.data, self._starts.data, len(self._separator))

    def hashes(self) -> NDArray[np.int64]:
        """Return the hashes by code; beyond the last code are no hashes."""
        return self._hashes.data

    @classmethod
    def of_arrays(cls, separator: bytes, key: HashKey, view: TableView, *lookup: NDArray[Any]) -> ByteTable:
        """Return a table of a view's arrays, hashes and slots."""
        table = cls(separator, key)
        hashes, slots = lookup
        table._count = view.size
        table._content.data, table._starts.data, table._hashes.data = view.content, view.starts, hashes
        table._slots = HashSlots(slots)
        return table

    def get(self, code: int) -> bytes:
        """Return the entry of a code."""
        starts = self._starts.data
        return self._content.data[starts[code] : starts[code + 1] - len(self._separator)].tobytes()

    def find(self, entry: bytes) -> int:
        """Return the code of `entry`, 0 if there is none."""
        return self._find(entry, self.key.of(entry))

    def find_many(self, entries: Sequence[bytes]) -> NDArray[np.int64]:
        """Return the codes of entries, 0 for those that are missing."""
        return self._find_many(entries, self.key.of_many(entries))

    def subset(self, codes: NDArray[np.int64]) -> ByteTable:
        """Return a table of some entries, numbered in the order of `codes`."""
        table, count = ByteTable(self._separator, self.key), len(codes)
        sizes = self._starts.data[codes + 1] - self._starts.data[codes]
        ends = np.cumsum(sizes)
        table._content.resize(int(ends[-1]) + 1 if count else 1)
        table._starts.resize(count + 2)
        table._starts.write(slice(2, count + 2), ends)
        table._hashes.resize(count + 1)
        for first in range(0, count, _BLOCK):  # no step takes long, because it may hold the interpreter's lock
            block = codes[first : first + _BLOCK]
            begin, end = int(table._starts.data[first + 1]), int(ends[first + len(block) - 1])
            table._content.write(slice(begin, end), self._gather(block, 0)[0])
            table._hashes.write(slice(first + 1, first + len(block) + 1), self._hashes.data[block])
        table._count = count
        table._slots.add_many(1, count, table._hashes.data)
        return table

    def intern(self, entry: bytes) -> int:
        """Return the code of `entry`, adding it if needed."""
        hashed = self.key.of(entry)
        return self._find(entry, hashed) or self._add([entry], [hashed])

    def intern_many(self, entries: Sequence[bytes]) -> NDArray[np.int64]:
        """Return the codes of entries, adding those that are missing."""
        hashes = self.key.of_many(entries)
        codes = self._find_many(entries, hashes)
        missing = np.flatnonzero(codes == 0).tolist()
        if missing:
            new = {entries[index]: index for index in missing}
            first = self._add([*new], hashes[[*new.values()]])
            numbers = dict(zip(new, range(first, first + len(new)), strict=True))
            codes[missing] = [numbers[entries[index]] for index in missing]
        return codes

    def add_distinct(self, entries: Sequence[bytes]) -> None:
        """Append distinct entries that are not in the table."""
        self._add(entries, self.key.of_many(entries))

    def has_at(self, first: int, entries: Sequence[bytes]) -> bool:
        """Return whether these are the entries from code `first` on."""
        last = first + len(entries) - 1
        if last > self._count:
            return False
        starts = self._starts.data
        content = self._content.data[starts[first] : starts[last + 1]]
        return content.tobytes() == self._separator.join([*entries, b""]) and np.array_equal(
            np.diff(starts[first : last + 2]), self._lengths(entries)
        )

    def _lengths(self, entries: Sequence[bytes]) -> NDArray[np.int64]:
        return np.fromiter(map(len, entries), np.int64, len(entries)) + len(self._separator)

    def _find(self, entry: bytes, hashed: int) -> int:
        return self._slots.find(hashed, self._hashes.data, lambda code: self.get(code) == entry)

    def _find_many(self, entries: Sequence[bytes], hashes: NDArray[np.int64]) -> NDArray[np.int64]:
        found = self._slots.find_many(hashes, self._hashes.data)
        if not self._are(found, entries):  # two entries with one hash
            return np.array(list(map(self._find, entries, hashes.tolist())), np.int64)
        return found

    def _are(self, codes: NDArray[np.int64], entries: Sequence[bytes]) -> bool:
        """Return whether the codes have these entries; 0 has any."""
        known = np.flatnonzero(codes)
        wanted = [entries[index] for index in known.tolist()]
        content, ends = self._gather(codes[known], len(self._separator))
        sizes = np.fromiter(map(len, wanted), np.int64, len(wanted))
        return np.array_equal(ends, np.cumsum(sizes)) and content.tobytes() == b"".join(wanted)

    def _gather(self, codes: NDArray[np.int64], cut: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return entries one after another, and their ends.

        The last `cut` bytes of each are left out.
        """
        begins = self._starts.data[codes]
        sizes = self._starts.data[codes + 1] - begins - cut
        ends = np.cumsum(sizes)
        positions = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begins - (ends - sizes), sizes)
        return self._content.data[positions], ends

    def _add(self, entries: Sequence[bytes], hashes: Sequence[int] | NDArray[np.int64]) -> int:
        """Append entries; return the code of the first."""
        first, count = self._count + 1, len(entries)
        self._starts.reserve(first + count + 1, count)
        begin = int(self._starts.data[first])
        ends = np.cumsum(self._lengths(entries)) + begin
        end = int(ends[-1]) if count else begin
        self._content.reserve(end, end - begin)
        self._content.write(slice(begin, end), np.frombuffer(self._separator.join([*entries, b""]), np.uint8))
        self._starts.write(slice(first + 1, first + count + 1), ends)
        self._hashes.reserve(first + count, count)
        self._hashes.write(slice(first, first + count), hashes)
        self._count += count
        self._slots.add_many(first, first + count - 1, self._hashes.data)
        return first
