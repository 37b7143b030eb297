"""Codes by the hash of their entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MIN_SLOTS = 64
_MOVED_AT_ONCE = 2048
_MOVED_PER_CODE = 8  # moves for each code that is added, so that a move ends before the next begins
_BLOCK = 1 << 16

Hashes = NDArray[np.int64]


class _Slots(NamedTuple):
    """Hash table with open addressing; a free slot has 0.

    `values` reads one slot faster than the array does.
    """

    array: NDArray[np.int32]
    values: memoryview


class HashSlots:
    """Hash table of codes, that grows a slice at a time.

    While codes move into a larger table, both are searched. So no call takes long.
    """

    def __init__(self, slots: NDArray[np.int32] | None = None) -> None:
        """Create an empty table, or take over the slots of another."""
        self._tables: tuple[_Slots, ...] = (_table(np.zeros(_MIN_SLOTS, np.int32) if slots is None else slots),)
        self._moved = self._to_move = 0

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return sum(table.array.nbytes for table in self._tables)

    def find(self, hashed: int, hashes: Hashes, is_it: Callable[[int], bool]) -> int:
        """Return the code of this hash that passes the check, or 0."""
        for _, values in self._tables:
            mask = len(values) - 1
            slot = hashed & mask
            while code := values[slot]:
                if hashes[code] == hashed and is_it(code):
                    return int(code)
                slot = (slot + 1) & mask
        return 0

    def find_many(self, wanted: Hashes, hashes: Hashes) -> NDArray[np.int64]:
        """Return for each hash the first code that has it, or 0."""
        found = np.zeros(len(wanted), np.int64)
        for array, _ in self._tables:
            left = np.flatnonzero(found == 0)
            positions = wanted[left] & (len(array) - 1)
            while len(left):
                codes = array[positions]
                is_end = codes == 0
                matches = ~is_end & (hashes[codes] == wanted[left])
                found[left[matches]] = codes[matches]
                goes_on = ~(is_end | matches)
                left, positions = left[goes_on], (positions[goes_on] + 1) & (len(array) - 1)
        return found

    def add(self, code: int, hashes: Hashes) -> None:
        """Add the next code."""
        _, values = self._tables[0]
        mask = len(values) - 1
        slot = int(hashes[code]) & mask
        while values[slot]:
            slot = (slot + 1) & mask
        values[slot] = code
        self._grow(code, 1, hashes)

    def add_many(self, first: int, last: int, hashes: Hashes) -> None:
        """Add the next codes, `first` to `last`."""
        added = last - first + 1
        if 2 * last > len(self._tables[0].array):
            self._grow(first - 1, added, hashes)
        fill(self._tables[0].array, hashes, first, last)
        self._grow(last, added, hashes)

    def _grow(self, count: int, added: int, hashes: Hashes) -> None:
        """Move codes to a larger table, from half of the slots on."""
        is_full = 2 * (count + added) > len(self._tables[0].array)
        if len(self._tables) > 1:
            self._move(self._to_move if is_full else max(_MOVED_AT_ONCE, _MOVED_PER_CODE * added), hashes)
        if is_full:
            self._tables = (_table(np.zeros(size_for(count + added), np.int32)), *self._tables)
            self._moved, self._to_move = 0, count
            self._move(max(_MOVED_AT_ONCE, _MOVED_PER_CODE * added), hashes)

    def _move(self, count: int, hashes: Hashes) -> None:
        last = min(self._moved + count, self._to_move)
        fill(self._tables[0].array, hashes, self._moved + 1, last)
        self._moved = last
        if last == self._to_move:
            self._tables = self._tables[:1]


def size_for(count: int) -> int:
    """Return the number of slots for so many codes."""
    size = _MIN_SLOTS
    while size < 3 * count:
        size *= 2
    return size


def fill(slots: NDArray[np.int32], hashes: Hashes, first: int, last: int) -> None:
    """Put the codes from `first` to `last` into free slots."""
    mask = len(slots) - 1
    for start in range(first, last + 1, _BLOCK):
        codes = np.arange(start, min(start + _BLOCK, last + 1), dtype=np.int32)
        positions = hashes[start : start + len(codes)] & mask
        while len(codes):
            free = slots[positions] == 0
            slots[positions[free]] = codes[free]  # of several codes the last one gets the slot
            left = slots[positions] != codes
            codes, positions = codes[left], (positions[left] + 1) & mask


def _table(slots: NDArray[np.int32]) -> _Slots:
    return _Slots(slots, memoryview(slots.data))
