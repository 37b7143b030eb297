"""Events in the order of files become histories, in files of its own rather than in memory.

What memory holds is a chunk of events, the ids, and a few numbers for each user and item. Large arrays that come out
are mapped from unnamed files in the folder for temporary files (`TMPDIR`), which vanish with the last use of them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model.training.errors import DataError

_EVENTS = 1 << 18  # held at a time
_SMALL = 1 << 24  # bytes of an array that may as well lie in memory
_INT32 = np.dtype(np.int32)


@dataclass(slots=True)
class _Ids:
    """Codes from 0 for ids, in order of appearance.

    `first` says when each appeared, `place` as which event of all, from 1; both have room for more, filled with 0.
    """

    code_of: dict[str, int]
    first: NDArray[Any]
    place: NDArray[np.int64]

    @classmethod
    def empty(cls) -> _Ids:
        return cls({}, np.zeros(0), np.zeros(0, np.int64))

    def encode(self, ids: pa.StringArray) -> NDArray[np.int32]:
        """Their codes; new ids get the next ones."""
        encoded = ids.dictionary_encode()
        code_of = self.code_of
        codes = [code_of.setdefault(id_, len(code_of)) for id_ in encoded.dictionary.to_pylist()]
        result: NDArray[np.int32] = np.array(codes, np.int32)[encoded.indices.to_numpy()]
        return result

    def note(self, codes: NDArray[np.int32], order: NDArray[Any], begin: int) -> None:
        """Remember the earliest event of each code; those given begin at place `begin` of all."""
        by = np.lexsort((order, codes))
        codes, order, place = codes[by], order[by], begin + by + 1
        firsts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
        codes, order, place = codes[firsts], order[firsts], place[firsts]
        self.first = _grown(self.first.astype(order.dtype, copy=False), len(self.code_of))
        self.place = _grown(self.place, len(self.code_of))
        earlier = (self.place[codes] == 0) | (order < self.first[codes])
        self.first[codes[earlier]], self.place[codes[earlier]] = order[earlier], place[earlier]

    def rank(self) -> NDArray[np.int32]:
        """For each code its place in order of time, then of file; codes themselves where nothing was noted."""
        count = len(self.code_of)
        if not len(self.first):
            return np.arange(count, dtype=np.int32)
        result = np.empty(count, np.int32)
        result[np.lexsort((self.place[:count], self.first[:count]))] = np.arange(count, dtype=np.int32)
        return result

    def sorted(self, rank: NDArray[np.int32]) -> list[str]:
        """The ids in order of `rank`."""
        ids = list(self.code_of)
        return [ids[code] for code in np.argsort(rank).tolist()]


def _grown(values: NDArray[Any], size: int) -> NDArray[Any]:
    """The values with room for `size` at least, doubled, so that many small steps cost little."""
    if size <= len(values):
        return values
    return np.append(values, np.zeros(max(size, 2 * len(values)) - len(values), values.dtype))


class _Column:
    """Numbers in a file, written from its begin to its end and read likewise."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._file = _temporary()
        self.filled = False

    def append(self, values: NDArray[Any]) -> None:
        self.filled = True
        try:
            self._file.write(np.ascontiguousarray(values, self._dtype).data)
        except OSError as error:
            raise _no_room(error) from None

    def chunks(self) -> Iterator[NDArray[Any]]:
        self._file.seek(0)
        while len(chunk := np.fromfile(self._file, self._dtype, _EVENTS)):
            yield chunk


class Grouped(NamedTuple):
    """The first four as `Interactions` has them; times (N,) in the order of rows, if they were given."""

    rows: NDArray[np.int32]
    offsets: NDArray[np.int64]
    item_ids: Sequence[str]
    user_ids: Sequence[str]
    times: NDArray[np.float64] | None


class Histories:
    """Takes events chunk by chunk, then groups them by user, each one's in order.

    With `item_ids` (in order of rows from 1) events of other items are left out; without, items are numbered as they
    appear in time.
    """

    def __init__(self, item_ids: Sequence[str] | None) -> None:
        self._item_ids = item_ids
        self._row_of = None if item_ids is None else {item: row for row, item in enumerate(item_ids, start=1)}
        self._users, self._items = _Ids.empty(), _Ids.empty()
        self._codes, self._rows = _Column(_INT32), _Column(_INT32)
        self._order: _Column | None = None
        self._times = _Column(np.dtype(np.float64))
        self._kind: np.dtype[Any] | None = None
        self.events = 0
        self._counts = np.zeros(0, np.int64)

    def add(
        self,
        users: pa.StringArray,
        items: pa.StringArray,
        order: NDArray[Any] | None,
        times: NDArray[np.float64] | None = None,
    ) -> None:
        """Take events, and numbers that order each user's events, None if they are in order.

        `times` are kept if they are given with every chunk and an order.
        """
        kind = None if order is None else order.dtype
        if self.events and kind != self._kind:
            raise DataError("the timestamps change their type between files; write all of them alike")
        codes = self._users.encode(users)
        if self._row_of is None:
            rows = self._items.encode(items) + np.int32(1)
        else:
            encoded = items.dictionary_encode()
            known = [self._row_of.get(item, 0) for item in encoded.dictionary.to_pylist()]
            rows = np.array(known, np.int32)[encoded.indices.to_numpy()]
        if order is not None:
            self._order = self._order or _Column(order.dtype)
            self._users.note(codes, order, self.events)
            if self._row_of is None:
                self._items.note(rows - 1, order, self.events)
            self._order.append(order[rows > 0])
        if times is not None:
            self._times.append(times[rows > 0])
        self._kind = kind
        self.events += len(codes)
        codes, rows = codes[rows > 0], rows[rows > 0]
        self._codes.append(codes)
        self._rows.append(rows)
        self._counts = _grown(self._counts, len(self._users.code_of))
        np.add.at(self._counts, codes, 1)

    def grouped(self) -> Grouped:
        """All events, once."""
        user_rank, item_rank = self._users.rank(), self._items.rank()
        counts = np.zeros(len(user_rank), np.int64)
        counts[user_rank] = self._counts[: len(user_rank)]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        rows = roomy(_INT32, int(offsets[-1]))
        order = None if self._order is None or self._kind is None else roomy(self._kind, int(offsets[-1]))
        orders = iter(()) if self._order is None else self._order.chunks()
        times = roomy(np.dtype(np.float64), int(offsets[-1])) if self._times.filled else None
        moments = self._times.chunks()
        free = offsets[:-1].copy()
        for codes, found in zip(self._codes.chunks(), self._rows.chunks(), strict=True):
            ranks = _ranks(user_rank[codes], free)
            rows[ranks] = found if self._row_of is not None else item_rank[found - 1] + 1
            if order is not None:
                order[ranks] = next(orders)
            if times is not None:
                times[ranks] = next(moments)
        if order is not None:
            _sort_each(order, offsets, [rows] if times is None else [rows, times])
        item_ids = self._items.sorted(item_rank) if self._item_ids is None else self._item_ids
        return Grouped(rows, offsets, item_ids, self._users.sorted(user_rank), times)


def _ranks(users: NDArray[np.int32], free: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where events of these users go, each user's next free places; `free` moves on."""
    by = np.argsort(users, kind="stable")
    owners, begin, count = np.unique(users[by], return_index=True, return_counts=True)
    ranks = np.empty(len(users), np.int64)
    ranks[by] = np.repeat(free[owners] - begin, count) + np.arange(len(users))
    free[owners] += count
    return ranks


def _sort_each(order: NDArray[Any], offsets: NDArray[np.int64], columns: list[NDArray[Any]]) -> None:
    """Sort each history by `order`, stable, in place."""
    for users, part in blocks(offsets):
        owners = np.repeat(np.arange(users.stop - users.start), np.diff(offsets[users.start : users.stop + 1]))
        by = np.lexsort((order[part], owners))
        for column in columns:
            column[part] = column[part][by]


def blocks(offsets: NDArray[np.int64]) -> Iterator[tuple[slice, slice]]:
    """All users in order, as many at a time as have no more than a chunk of events, but one at least; and theirs."""
    first = 0
    while first < len(offsets) - 1:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + _EVENTS, side="right")) - 1)
        yield slice(first, last), slice(int(offsets[first]), int(offsets[last]))
        first = last


def roomy(dtype: np.dtype[Any], size: int) -> NDArray[Any]:
    """An array of `size`, in a file of its own if it is large; raises `DataError` if there is no room for it."""
    if size * dtype.itemsize <= _SMALL:
        return np.zeros(size, dtype)
    with _temporary() as file:
        try:
            # A mapped file that finds the disk full later would end the process.
            os.posix_fallocate(file.fileno(), 0, size * dtype.itemsize)
        except OSError as error:
            raise _no_room(error) from None
        return np.asarray(np.memmap(file, dtype, "r+", shape=(size,)))


def _temporary() -> IO[bytes]:
    return tempfile.TemporaryFile(prefix="recblr-")


def _no_room(error: OSError) -> DataError:
    where = tempfile.gettempdir()
    return DataError(f"{where} cannot take the events ({error.strerror}); set TMPDIR to a folder with more room")
