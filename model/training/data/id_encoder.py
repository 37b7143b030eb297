"""Integer codes for user and item ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model.training.data.id_table import IdTable, pack_ids


class IdEncoder:
    """Number ids from 0 in order of appearance.

    It also remembers the earliest event of each id.
    """

    def __init__(self) -> None:
        self._count = 0
        self._short = IdTable()
        self._long: dict[str, int] = {}
        self._ids: list[pa.StringArray] = []  # in order of their codes
        # Both arrays are indexed by code and longer than needed; an event number of 0 means that none is recorded.
        self._first_order: NDArray[Any] = np.zeros(0)
        self._first_event: NDArray[np.int64] = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return self._count

    def encode(self, ids: pa.Array) -> NDArray[np.int32]:
        """Return the code of each id; new ids get new codes."""
        encoded = encode_ids(ids)
        result: NDArray[np.int32] = self._codes(encoded.dictionary.cast(pa.string()))[encoded.indices.to_numpy()]
        return result

    def _codes(self, distinct: pa.StringArray) -> NDArray[np.int32]:
        """Return the codes of strings, most of which are distinct."""
        packed = pack_ids(distinct)
        codes = self._short.find(packed)
        long = np.flatnonzero(packed.is_long)
        if len(long):
            codes[long] = [self._long.get(id_, -1) for id_ in distinct.take(pa.array(long)).to_pylist()]
        new = np.flatnonzero(codes < 0)
        if len(new):
            codes[new] = self._add(distinct.take(pa.array(new)))
        return codes

    def _add(self, new: pa.StringArray) -> NDArray[np.int32]:
        """Give new ids the next codes, in order of appearance; return them."""
        encoded = new.dictionary_encode()  # a chunk's dictionary may hold an id twice
        added = np.arange(self._count, self._count + len(encoded.dictionary), dtype=np.int32)
        packed = pack_ids(encoded.dictionary)
        short, long = np.flatnonzero(~packed.is_long), np.flatnonzero(packed.is_long)
        self._short.add(packed.take(short), added[short])
        self._long.update(zip(encoded.dictionary.take(pa.array(long)).to_pylist(), added[long].tolist(), strict=True))
        self._ids.append(encoded.dictionary)
        self._count += len(added)
        result: NDArray[np.int32] = added[encoded.indices.to_numpy()]
        return result

    def record_events(self, codes: NDArray[np.int32], order: NDArray[Any], events_before: int) -> None:
        """Update the earliest event of each code.

        Args:
            codes: (n,) codes of the events.
            order: (n,) numbers that order the events, such as timestamps.
            events_before: number of events recorded before these.
        """
        by_code = np.lexsort((order, codes))
        codes, order, number = codes[by_code], order[by_code], events_before + by_code + 1
        firsts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
        codes, order, number = codes[firsts], order[firsts], number[firsts]
        self._first_order = grow(self._first_order.astype(order.dtype, copy=False), len(self))
        self._first_event = grow(self._first_event, len(self))
        is_earlier = (self._first_event[codes] == 0) | (order < self._first_order[codes])
        self._first_order[codes[is_earlier]] = order[is_earlier]
        self._first_event[codes[is_earlier]] = number[is_earlier]

    def ranks(self) -> NDArray[np.int32]:
        """Return the rank of each code by its earliest event.

        Equal times keep the order of the file, and so do ids without recorded events.
        """
        count = len(self)
        if not len(self._first_order):
            return np.arange(count, dtype=np.int32)
        result = np.empty(count, np.int32)
        earliest_first = np.lexsort((self._first_event[:count], self._first_order[:count]))
        result[earliest_first] = np.arange(count, dtype=np.int32)
        return result

    def sorted_by(self, ranks: NDArray[np.int32]) -> list[str]:
        """Return the ids in ascending order of `ranks`."""
        ids = pa.concat_arrays(self._ids) if self._ids else pa.array([], pa.string())
        result: list[str] = ids.take(pa.array(np.argsort(ranks))).to_pylist()
        return result


def encode_ids(ids: pa.Array) -> pa.DictionaryArray:
    """Return the ids behind a dictionary in order of appearance.

    No entry is unused.
    """
    if not isinstance(ids, pa.DictionaryArray):
        return ids.dictionary_encode()
    codes = ids.indices.to_numpy()
    newest = np.maximum.accumulate(codes) if len(codes) else codes
    appears_in_order = (
        len(codes) > 0
        and codes[0] == 0
        and newest[-1] == len(ids.dictionary) - 1
        and int(np.diff(newest).max(initial=0)) <= 1
    )
    return ids if appears_in_order else ids.dictionary_decode().dictionary_encode()


def grow(values: NDArray[Any], size: int) -> NDArray[Any]:
    """Return the values with room for at least `size`.

    The room doubles, so that growing in small steps is cheap.
    """
    if size <= len(values):
        return values
    return np.append(values, np.zeros(max(size, 2 * len(values)) - len(values), values.dtype))
