"""Build user histories on disk from events in any order.

The events may be larger than memory (decision 0030). Memory holds one chunk of events, the ids, and a few numbers per
user and item. Large results are mapped from temporary files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.errors import DataError
from model.bundle.event_types import DEFAULT_TYPE
from model.training.data.disk_arrays import DiskColumn, allocate
from model.training.data.history_sorting import sort_histories
from model.training.data.id_encoder import IdEncoder, encode_ids, grow
from model.training.event_types.type_column import TypeColumn
from model.training.event_types.type_rules import MAX_TYPES, type_column

_INT32 = np.dtype(np.int32)
_FLOAT64 = np.dtype(np.float64)
_UINT8 = np.dtype(np.uint8)


class Histories(NamedTuple):
    """Histories of all users, one after the other, each oldest first.

    Attributes:
        rows: (N,) int32, embedding row of every event, from 1.
        offsets: (U + 1,) int64; user u's events are rows[offsets[u]:offsets[u + 1]].
        item_ids: V ids; row r belongs to item_ids[r - 1].
        user_ids: U ids.
        times: (N,) float64, Unix seconds of every event; None if they were not given.
        duplicates: events that repeat user, item and order of another; left out if that was asked.
        types: (N,) types of the events; None if they have only one.
    """

    rows: NDArray[np.int32]
    offsets: NDArray[np.int64]
    item_ids: Sequence[str]
    user_ids: Sequence[str]
    times: NDArray[np.float64] | None
    duplicates: int
    types: TypeColumn | None = None


class HistoryBuilder:
    """Collect events in chunks, then build each user's history.

    Attributes:
        events: number of events added, including those of unknown items.
        known_events: the same without those.
    """

    def __init__(self, item_ids: Sequence[str] | None) -> None:
        """Start without events.

        Args:
            item_ids: ids of a model in order of its rows; events of other items are left out. None numbers the items
                in order of their earliest event.
        """
        self._item_ids = item_ids
        self._row_of = None if item_ids is None else {item: row for row, item in enumerate(item_ids, start=1)}
        self._user_encoder, self._item_encoder = IdEncoder(), IdEncoder()
        self._user_codes, self._rows = DiskColumn(_INT32), DiskColumn(_INT32)
        self._times, self._types = DiskColumn(_FLOAT64), DiskColumn(_UINT8)
        self._type_names: dict[str, int] = {DEFAULT_TYPE: 0}
        self._order: DiskColumn | None = None
        self._order_dtype: np.dtype[Any] | None = None
        self._events_of_user = np.zeros(0, np.int64)
        self.events = self.known_events = 0

    def add(
        self,
        users: pa.Array,
        items: pa.Array,
        order: NDArray[Any] | None,
        times: NDArray[np.float64] | None = None,
        types: pa.Array | None = None,
    ) -> None:
        """Add a chunk of n events.

        Args:
            users: (n,) user ids, as strings or as strings behind a dictionary.
            items: (n,) item ids, likewise.
            order: (n,) numbers that order each user's events; None if the events are in order.
            times: (n,) times to keep; given with every chunk and with an order, or never.
            types: (n,) names of the events' types; null and "" are the default. None: all have the default.

        Raises:
            DataError: the type of `order` differs from earlier chunks, there are too many event types, or the disk is
                full.
        """
        order_dtype = None if order is None else order.dtype
        if self.events and order_dtype != self._order_dtype:
            raise DataError("the type of the timestamps differs between files; write all of them alike")
        self._order_dtype = order_dtype
        codes = self._user_encoder.encode(users)
        rows = self._rows_of(items)
        is_known = rows > 0
        if order is not None:
            self._order = self._order or DiskColumn(order.dtype)
            self._user_encoder.record_events(codes, order, self.events)
            if self._row_of is None:
                self._item_encoder.record_events(rows - 1, order, self.events)
            self._order.append(order[is_known])
        if times is not None:
            self._times.append(times[is_known])
        self._types.append(self._type_codes(types, len(codes))[is_known])
        self.events += len(codes)
        self.known_events += int(is_known.sum())
        self._user_codes.append(codes[is_known])
        self._rows.append(rows[is_known])
        self._events_of_user = grow(self._events_of_user, len(self._user_encoder))
        np.add.at(self._events_of_user, codes[is_known], 1)

    def build(self, *, drop_duplicates: bool = False) -> Histories:
        """Build the histories of all events added; call once.

        `drop_duplicates` leaves out events that repeat user, item and order of another.
        """
        user_rank, item_rank = self._user_encoder.ranks(), self._item_encoder.ranks()
        lengths = np.zeros(len(user_rank), np.int64)
        lengths[user_rank] = self._events_of_user[: len(user_rank)]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        total = int(offsets[-1])
        rows = allocate(_INT32, total)
        times = None if self._times.is_empty else allocate(_FLOAT64, total)
        types = allocate(_UINT8, total if len(self._type_names) > 1 else 0)
        type_chunks = self._types.chunks()
        order = None if self._order_dtype is None else allocate(self._order_dtype, total)
        order_chunks = iter(()) if self._order is None else self._order.chunks()
        time_chunks = self._times.chunks()
        next_free = offsets[:-1].copy()
        for codes, row_chunk in zip(self._user_codes.chunks(), self._rows.chunks(), strict=True):
            target = _take_free_positions(user_rank[codes], next_free)
            rows[target] = row_chunk if self._row_of is not None else item_rank[row_chunk - 1] + 1
            if order is not None:
                order[target] = next(order_chunks)
            if times is not None:
                times[target] = next(time_chunks)
            if len(types):
                types[target] = next(type_chunks)
        duplicates = 0
        if order is not None:
            columns = [rows, *(column for column in (times, types) if column is not None and len(column))]
            offsets, duplicates = sort_histories(order, offsets, columns, drop_duplicates=drop_duplicates)
            rows, times = rows[: offsets[-1]], None if times is None else times[: offsets[-1]]
            types = types[: offsets[-1]]
        item_ids = self._item_encoder.sorted_by(item_rank) if self._item_ids is None else self._item_ids
        user_ids, column = self._user_encoder.sorted_by(user_rank), type_column(types, list(self._type_names))
        return Histories(rows, offsets, item_ids, user_ids, times, duplicates, column)

    def _type_codes(self, types: pa.Array | None, count: int) -> NDArray[np.uint8]:
        """Return the number of each event's type among the names so far."""
        if types is None:
            return np.zeros(count, np.uint8)
        encoded = types.cast(pa.string()).fill_null("").dictionary_encode()
        names = [name or DEFAULT_TYPE for name in encoded.dictionary.to_pylist()]
        for name in names:
            self._type_names.setdefault(name, len(self._type_names))
        if len(self._type_names) > MAX_TYPES:
            raise DataError(f"the events have more than {MAX_TYPES} types; is this the column of types?")
        codes = np.array([self._type_names[name] for name in names], np.uint8)
        found: NDArray[np.uint8] = codes[encoded.indices.to_numpy()]
        return found

    def _rows_of(self, items: pa.Array) -> NDArray[np.int32]:
        """Return the row of each item, 0 if it is unknown."""
        if self._row_of is None:
            return self._item_encoder.encode(items) + np.int32(1)
        encoded = encode_ids(items)
        row_of_code = np.array([self._row_of.get(item, 0) for item in encoded.dictionary.to_pylist()], np.int32)
        rows: NDArray[np.int32] = row_of_code[encoded.indices.to_numpy()]
        return rows


def _take_free_positions(users: NDArray[np.int32], next_free: NDArray[np.int64]) -> NDArray[np.int64]:
    """Assign each event the next free position of its user.

    Advances `next_free`.
    """
    by_user = np.argsort(users, kind="stable")
    distinct, begin, count = np.unique(users[by_user], return_index=True, return_counts=True)
    positions = np.empty(len(users), np.int64)
    positions[by_user] = np.repeat(next_free[distinct] - begin, count) + np.arange(len(users))
    next_free[distinct] += count
    return positions
