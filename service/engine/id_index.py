"""Rows of item ids, looked up in compiled code without the GIL.

A dictionary looks up one id at a time and holds the GIL. Here a history's ids are joined to one text, which costs a
third, and several threads look up the ids of one text each.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.compiled.array_types import I64, U32
from model.compiled.jit import kernel

_SEPARATOR = "\n"  # no id of the API holds a control character
_SEPARATOR_BYTE = np.uint8(10)
# Ids of one text. Threads wait for the GIL between two texts, so that there are few.
_PART_EVENTS = 1 << 17
_MAX_THREADS = 4
_IN_FLIGHT = 2
# FNV-1a, 64 bits.
_HASH_START, _HASH_FACTOR = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_HALF = np.uint64(32)

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
        """Index ids by row.

        Their rows are 1, 2 and so on, in this order.
        """
        self._rows = rows
        ids = [item_id.encode("utf-8", "surrogatepass") for item_id in rows]
        self._ids = _array(b"".join(ids))
        self._starts = np.concatenate([[0], np.cumsum(np.fromiter(map(len, ids), np.int64, len(ids)))])
        self._slots = np.zeros(1 << (2 * len(ids)).bit_length(), np.int32)
        fill_slots(self._ids, self._starts, self._slots)
        threads = min(_MAX_THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(threads, "id-index")  # starts a thread when it is first needed

    def known_rows(self, chunks: Iterable[Sequence[Sequence[str]]]) -> Iterator[KnownRows]:
        """Yield the rows of each chunk of histories.

        Unknown items are left out. A history has at least one item. The next chunk is looked up meanwhile.
        """
        running: deque[list[Future[KnownRows]]] = deque()
        for histories in chunks:
            running.append(self._start(histories))
            if len(running) == _IN_FLIGHT:
                yield _gathered(running.popleft())
        while running:
            yield _gathered(running.popleft())

    def _start(self, histories: Sequence[Sequence[str]]) -> list[Future[KnownRows]]:
        """Look up the histories of one chunk in parts of similar size."""
        counts = np.fromiter(map(len, histories), np.int64, len(histories))
        starts = np.flatnonzero(np.diff(np.cumsum(counts) // _PART_EVENTS, prepend=-1)).tolist()
        parts = [
            slice(start, end) for start, end in zip(starts, [*starts[1:], len(histories)][: len(starts)], strict=True)
        ]
        # This thread joins the next part's ids while others look up those before.
        return [
            self._pool.submit(self._look_up, _joined(histories[each]), counts[each], histories[each])
            for each in parts
        ]

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


def _gathered(running: Sequence[Future[KnownRows]]) -> KnownRows:
    """Wait for the parts of a chunk and return them as one."""
    found = [future.result() for future in running]
    if len(found) == 1:
        return found[0]
    rows, lengths = [known.rows for known in found], [known.lengths for known in found]
    return KnownRows(
        np.concatenate([np.empty(0, np.uint32), *rows]), np.concatenate([np.empty(0, np.int64), *lengths])
    )


def _joined(histories: Sequence[Sequence[str]]) -> U8:
    return _array(_SEPARATOR.join(map(_SEPARATOR.join, histories)).encode("utf-8", "surrogatepass"))


def _array(data: bytes) -> U8:
    # A writable view: numba has another type for read-only arrays.
    return np.frombuffer(bytearray(data), np.uint8)


@kernel
def find_slot(text: U8, start: int, end: int, code: np.uint64, ids: U8, starts: I64, slots: I32) -> np.int64:
    """Return the slot of an id with this hash code.

    It is empty if there is no such id.
    """
    mask = len(slots) - 1
    slot = np.int64(code ^ (code >> _HALF)) & mask
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
    """Write the rows of known ids; return how many there are.

    `lengths` gets their number in each history. `text` holds the ids of all histories, with a separator between any
    two. Returns -1 if there are more ids than `counts` says.
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
