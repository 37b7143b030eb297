"""Rows of item ids, looked up in compiled code without the GIL.

A dictionary looks up one id at a time and holds the GIL. Here a history's ids are joined to one text, which costs a
third, and several threads look up the ids of one text each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.engine.arrays import I64, U32
from service.engine.jit import kernel

_SEPARATOR = "\n"  # no id of the API holds a control character
_SEPARATOR_BYTE = np.uint8(10)
_PART_EVENTS = 1 << 15  # ids of one text; fewer are looked up by the caller's thread
_MAX_THREADS = 4
# FNV-1a, 64 bits.
_HASH_START, _HASH_FACTOR = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_FOLD = np.uint64(32)

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]


class KnownRows(NamedTuple):
    """Rows of the known items of M histories.

    rows     (N,) end to end, oldest first
    lengths  (M,) how many are of each history
    """

    rows: U32
    lengths: I64


class IdIndex:
    """Index of the items of one model; thread-safe."""

    def __init__(self, rows: Mapping[str, int]) -> None:
        """Index these ids, whose rows are from 1 to the number of ids in order."""
        self._rows = rows
        ids = [item_id.encode("utf-8", "surrogatepass") for item_id in rows]
        self._ids = _array(b"".join(ids))
        self._starts = np.concatenate([[0], np.cumsum(np.fromiter(map(len, ids), np.int64, len(ids)))])
        self._slots = np.zeros(1 << (2 * len(ids)).bit_length(), np.int32)
        fill_slots(self._ids, self._starts, self._slots)
        threads = min(_MAX_THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(threads, "id-index")  # starts a thread when it is first needed

    def known_rows(self, histories: Sequence[Sequence[str]]) -> KnownRows:
        """Return the rows of histories of at least one item each; unknown items are left out."""
        counts = np.fromiter(map(len, histories), np.int64, len(histories))
        starts = np.flatnonzero(np.diff(np.cumsum(counts) // _PART_EVENTS, prepend=-1)).tolist()
        if len(starts) <= 1:
            return self._look_up(_joined(histories), counts, histories)
        parts = [slice(start, end) for start, end in zip(starts, [*starts[1:], len(histories)], strict=True)]
        # This thread joins the next part's ids while others look up those before.
        running = [
            self._pool.submit(self._look_up, _joined(histories[part]), counts[part], histories[part])
            for part in parts
        ]
        found = [future.result() for future in running]
        return KnownRows(
            np.concatenate([known.rows for known in found]), np.concatenate([known.lengths for known in found])
        )

    def _look_up(self, text: U8, counts: I64, histories: Sequence[Sequence[str]]) -> KnownRows:
        rows, lengths = np.empty(counts.sum(), np.uint32), np.empty(len(counts), np.int64)
        found = look_up(text, counts, self._ids, self._starts, self._slots, rows, lengths)
        if found < 0:  # an id holds the separator
            return self._look_up_each(histories)
        return KnownRows(rows[:found], lengths)

    def _look_up_each(self, histories: Sequence[Sequence[str]]) -> KnownRows:
        known = [[row for item_id in history if (row := self._rows.get(item_id))] for history in histories]
        rows = np.array([row for history in known for row in history], np.uint32)
        return KnownRows(rows, np.fromiter(map(len, known), np.int64, len(known)))


def _joined(histories: Sequence[Sequence[str]]) -> U8:
    return _array(_SEPARATOR.join(map(_SEPARATOR.join, histories)).encode("utf-8", "surrogatepass"))


def _array(data: bytes) -> U8:
    # A writable view: numba has another type for read-only arrays.
    return np.frombuffer(bytearray(data), np.uint8)


@kernel
def find_slot(text: U8, start: int, end: int, code: np.uint64, ids: U8, starts: I64, slots: I32) -> np.int64:
    """Return the slot of an id with this hash code, or the empty slot where it would be."""
    mask = len(slots) - 1
    slot = np.int64(code ^ (code >> _FOLD)) & mask
    while slots[slot] > 0:
        row = slots[slot]
        first = starts[row - 1]
        if starts[row] - first == end - start:
            n = 0
            while n < end - start and ids[first + n] == text[start + n]:
                n += 1
            if n == end - start:
                break
        slot = (slot + 1) & mask
    return slot


@kernel
def fill_slots(ids: U8, starts: I64, slots: I32) -> None:
    """Store each id's row in its slot; 0 is an empty slot.

    `slots` has a power of two of places, more than there are ids.
    """
    for row in range(1, len(starts)):
        code = _HASH_START
        for at in range(starts[row - 1], starts[row]):
            code = (code ^ np.uint64(ids[at])) * _HASH_FACTOR
        slots[find_slot(ids, starts[row - 1], starts[row], code, ids, starts, slots)] = row


@kernel
def look_up(text: U8, counts: I64, ids: U8, starts: I64, slots: I32, rows: U32, lengths: I64) -> int:
    """Write the rows of known ids and their number in each history; return how many there are.

    `text` holds the ids of all histories, with a separator between any two. Returns -1 if there are more ids than
    `counts` says.
    """
    at, found = 0, 0
    for m in range(len(counts)):
        before = found
        for _ in range(counts[m]):
            start, code = at, _HASH_START
            while at < len(text) and text[at] != _SEPARATOR_BYTE:
                code = (code ^ np.uint64(text[at])) * _HASH_FACTOR
                at += 1
            row = slots[find_slot(text, start, at, code, ids, starts, slots)]
            if row > 0:
                rows[found] = row
                found += 1
            at += 1
        lengths[m] = found - before
    return found if at == len(text) + 1 or len(counts) == 0 else -1
