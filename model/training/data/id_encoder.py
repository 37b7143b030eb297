"""Integer codes for user and item ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class _Codes(dict[str, int]):
    """Codes by id; a new id gets the next code."""

    def __missing__(self, id_: str) -> int:
        code = self[id_] = len(self)
        return code


class IdEncoder:
    """Number ids from 0 in order of appearance.

    It also remembers the earliest event of each id.
    """

    def __init__(self) -> None:
        self._code_of = _Codes()
        # Both arrays are indexed by code and longer than needed; an event number of 0 means that none is recorded.
        self._first_order: NDArray[Any] = np.zeros(0)
        self._first_event: NDArray[np.int64] = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._code_of)

    def encode(self, ids: pa.Array) -> NDArray[np.int32]:
        """Return the code of each id; new ids get new codes."""
        encoded = encode_ids(ids)
        codes = list(map(self._code_of.__getitem__, encoded.dictionary.to_pylist()))
        result: NDArray[np.int32] = np.array(codes, np.int32)[encoded.indices.to_numpy()]
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
        ids = list(self._code_of)
        return [ids[code] for code in np.argsort(ranks).tolist()]


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
