"""Table of distinct byte strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.growing_array import GrowingArray

WORD_BYTES = 8
_MIN_SLOTS = 64


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

    def __init__(self, separator: bytes = b"") -> None:
        """Create an empty table; `separator` follows each entry."""
        self._separator = separator
        self._count = 0
        self._content = GrowingArray(np.uint8)
        self._starts = GrowingArray(np.int64)
        self._hashes = GrowingArray(np.int64)
        self._set_slots(np.zeros(_MIN_SLOTS, np.int32))
        self._content.reserve(1)
        self._hashes.reserve(1)
        self._starts.reserve(2)

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        arrays = self._content.data, self._starts.data, self._hashes.data, self._slots
        return sum(array.nbytes for array in arrays)

    def view(self) -> TableView:
        """Return the present entries."""
        return TableView(self._count, self._content.data, self._starts.data, len(self._separator))

    def get(self, code: int) -> bytes:
        """Return the entry of a code."""
        starts = self._starts.data
        return self._content.data[starts[code] : starts[code + 1] - len(self._separator)].tobytes()

    def find(self, entry: bytes) -> int:
        """Return the code of `entry`, 0 if there is none."""
        return self._probe(entry, hash(entry))[0]

    def find_many(self, entries: Sequence[bytes]) -> NDArray[np.int64]:
        """Return the codes of entries, 0 for those that are missing."""
        hashes, slots, count = _hashes(entries), self._slots, len(entries)
        codes, found = np.zeros(count, np.int64), np.zeros(count, np.int64)
        left, positions = np.arange(count), hashes & (len(slots) - 1)
        while len(left):
            codes[left] = slots[positions]
            matches = (self._hashes.data[codes[left]] == hashes[left]) & (codes[left] > 0)
            found[left[matches]] = codes[left[matches]]
            goes_on = ~matches & (codes[left] > 0)
            left, positions = left[goes_on], (positions[goes_on] + 1) & (len(slots) - 1)
        if not self._are(found, entries):  # two entries with one hash
            return np.array([self.find(entry) for entry in entries], np.int64)
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

    def subset(self, codes: NDArray[np.int64]) -> ByteTable:
        """Return a table of some entries, numbered in the order of `codes`."""
        table = ByteTable(self._separator)
        content, ends = self._gather(codes, 0)
        table._count = len(codes)
        table._content.reserve(len(content) + 1)[: len(content)] = content
        table._starts.reserve(len(codes) + 2)[2 : len(codes) + 2] = ends
        table._hashes.reserve(len(codes) + 1)[1 : len(codes) + 1] = self._hashes.data[codes]
        table._rebuild_slots()
        return table

    def intern(self, entry: bytes) -> int:
        """Return the code of `entry`, adding it if needed."""
        hashed = hash(entry)
        code, slot = self._probe(entry, hashed)
        if not code:
            code = self._append(entry, hashed)
            self._slot_values[slot] = code
            if 2 * code > len(self._slots):
                self._rebuild_slots()
        return code

    def add_distinct(self, entries: Sequence[bytes]) -> None:
        """Append distinct entries that are not in the table."""
        first, count = self._count + 1, len(entries)
        lengths = np.fromiter(map(len, entries), np.int64, count) + len(self._separator)
        starts = self._starts.reserve(first + count + 1)
        begin = int(starts[first])
        np.cumsum(lengths, out=starts[first + 1 : first + count + 1])
        starts[first + 1 : first + count + 1] += begin
        end = int(starts[first + count])
        joined = self._separator.join([*entries, b""])
        self._content.reserve(end)[begin:end] = np.frombuffer(joined, np.uint8)
        self._hashes.reserve(first + count)[first : first + count] = _hashes(entries)
        self._count += count
        if 2 * self._count > len(self._slots):
            self._rebuild_slots()
        else:
            self._fill_slots(self._slots, first)

    def _append(self, entry: bytes, hashed: int) -> int:
        code = self._count + 1
        starts = self._starts.reserve(code + 2)
        begin = int(starts[code])
        end = begin + len(entry) + len(self._separator)
        self._content.reserve(end)[begin:end] = np.frombuffer(entry + self._separator, np.uint8)
        starts[code + 1] = end
        self._hashes.reserve(code + 1)[code] = hashed
        self._count = code
        return code

    def _probe(self, entry: bytes, hashed: int) -> tuple[int, int]:
        """Return the code, or 0 and the free slot for it."""
        slots = self._slot_values
        mask = len(slots) - 1
        slot = hashed & mask
        hashes = self._hashes.data
        while code := slots[slot]:
            if hashes[code] == hashed and self.get(code) == entry:
                return code, slot
            slot = (slot + 1) & mask
        return 0, slot

    def _rebuild_slots(self) -> None:
        """Put all codes into a larger hash table."""
        size = len(self._slots)
        while size < 3 * self._count:
            size *= 2
        slots = np.zeros(size, np.int32)
        self._fill_slots(slots, 1)
        self._set_slots(slots)

    def _fill_slots(self, slots: NDArray[np.int32], first: int) -> None:
        """Put the codes from `first` on into free slots."""
        codes = np.arange(first, self._count + 1, dtype=np.int32)
        positions = self._hashes.data[first : self._count + 1] & (len(slots) - 1)
        while len(codes):
            free = slots[positions] == 0
            slots[positions[free]] = codes[free]  # of several codes the last one gets the slot
            left = slots[positions] != codes
            codes, positions = codes[left], (positions[left] + 1) & (len(slots) - 1)

    def _set_slots(self, slots: NDArray[np.int32]) -> None:
        self._slots = slots
        self._slot_values = memoryview(slots.data)  # reads one value faster than the array does


def _hashes(entries: Sequence[bytes]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, entries), np.int64, len(entries))
