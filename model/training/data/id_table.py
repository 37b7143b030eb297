"""Hash table of short ids, in NumPy.

A dict of Python strings takes most of the time of reading a file. An id of up to 15 bytes fits into two integers,
and many of them are looked up at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

MAX_BYTES = 15  # the last of 16 bytes holds the length
_EMPTY = -1
_FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))
# Bits of the first n bytes of an integer.
_MASKS = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)


class PackedIds(NamedTuple):
    """Ids as two integers each, equal for equal ids only.

    Attributes:
        low, high: (n,) uint64; not to be used where an id is long.
        is_long: (n,) bool, ids of more than `MAX_BYTES` bytes.
    """

    low: NDArray[np.uint64]
    high: NDArray[np.uint64]
    is_long: NDArray[np.bool_]

    def take(self, which: NDArray[np.int64]) -> PackedIds:
        """Return some of the ids."""
        return PackedIds(self.low[which], self.high[which], self.is_long[which])


def pack_ids(texts: pa.StringArray) -> PackedIds:
    """Pack strings, none of which is null."""
    if not len(texts):
        return PackedIds(np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, bool))
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    begin, lengths = offsets[:-1].astype(np.int64), np.diff(offsets)
    data = texts.buffers()[2]
    used = b"" if data is None else memoryview(data)[: offsets[-1]]
    padded = b"".join((used, bytes(16)))
    # An integer begins at every byte.
    words = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))
    low = words[begin] & _MASKS[np.clip(lengths, 0, 8)]
    high = words[np.minimum(begin + 8, len(words) - 1)] & _MASKS[np.clip(lengths - 8, 0, 7)]
    return PackedIds(low, high | lengths.astype(np.uint64) << np.uint64(56), lengths > MAX_BYTES)


class IdTable:
    """Hash table from packed ids to codes.

    It uses open addressing and is at most half full.
    """

    def __init__(self) -> None:
        self._bits = 10
        self._slots = np.full(1 << self._bits, _EMPTY, np.int32)  # codes
        self._low, self._high = np.zeros(0, np.uint64), np.zeros(0, np.uint64)  # by code
        self._count = 0

    def find(self, ids: PackedIds) -> NDArray[np.int32]:
        """Return the code of each id, -1 if it has none."""
        result = np.full(len(ids.low), _EMPTY, np.int32)
        pending = np.arange(len(ids.low))
        slots, low, high = self._first_slots(ids.low, ids.high), ids.low, ids.high
        while len(pending):
            codes = self._slots[slots]
            is_equal = (
                (codes >= 0) & (self._low[codes] == low) & (self._high[codes] == high) if self._count else codes >= 0
            )
            result[pending[is_equal]] = codes[is_equal]
            more = np.flatnonzero(~is_equal & (codes != _EMPTY))
            pending, low, high = pending[more], low[more], high[more]
            slots = (slots[more] + 1) & (len(self._slots) - 1)
        return result

    def add(self, ids: PackedIds, codes: NDArray[np.int32]) -> None:
        """Add distinct ids that have no code yet."""
        self._count += len(codes)
        size = 1 + int(codes.max(initial=-1))
        self._low, self._high = _grow(self._low, size), _grow(self._high, size)
        self._low[codes], self._high[codes] = ids.low, ids.high
        if 2 * self._count > len(self._slots):
            used = self._slots[self._slots != _EMPTY]
            codes = np.concatenate([used, codes])
            while 2 * self._count > 1 << self._bits:
                self._bits += 1
            self._slots = np.full(1 << self._bits, _EMPTY, np.int32)
        self._insert(codes)

    def _insert(self, codes: NDArray[np.int32]) -> None:
        slots = self._first_slots(self._low[codes], self._high[codes])
        while len(codes):
            is_free = self._slots[slots] == _EMPTY
            self._slots[slots[is_free]] = codes[is_free]  # of several in one slot the last remains
            lost = self._slots[slots] != codes
            codes, slots = codes[lost], (slots[lost] + 1) & (len(self._slots) - 1)

    def _first_slots(self, low: NDArray[np.uint64], high: NDArray[np.uint64]) -> NDArray[np.int64]:
        mixed = low * _FACTORS[0] ^ high * _FACTORS[1]
        mixed ^= mixed >> np.uint64(29)
        return (mixed * _FACTORS[2] >> np.uint64(64 - self._bits)).astype(np.int64)


def _grow(values: NDArray[np.uint64], size: int) -> NDArray[np.uint64]:
    """Return the values with room for at least `size`; the room doubles."""
    if size <= len(values):
        return values
    return np.append(values, np.zeros(max(size, 2 * len(values)) - len(values), np.uint64))
