"""Interactions from files: who touched which item, in what order.

Order is by time, and within one timestamp by position in the file: never by item id, which would leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model.training.data.history_builder import Histories, blocks, roomy
from model.training.data.readers import bad_row, read_chunks, wider_time
from model.training.errors import DataError

_EVENTS = 1 << 22  # counted at a time


@dataclass(frozen=True, slots=True)
class Interactions:
    """All histories, one after the other, each oldest first.

    rows      (N,) int32, embedding row (1..V) of every event; user u's are rows[offsets[u]:offsets[u + 1]]
    offsets   (U + 1,) int64
    item_ids  V ids, that of row r at r - 1
    user_ids  U ids
    """

    rows: NDArray[np.int32]
    offsets: NDArray[np.int64]
    item_ids: Sequence[str]
    user_ids: Sequence[str]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(U,) events of each user."""
        return np.diff(self.offsets)

    def popularity(self) -> NDArray[np.int64]:
        """(V + 1,) events of each row."""
        counts = np.zeros(len(self.item_ids) + 1, np.int64)
        for begin in range(0, len(self.rows), _EVENTS):
            counts += np.bincount(self.rows[begin : begin + _EVENTS], minlength=len(counts))
        return counts

    def without_last(self, count: int) -> Interactions:
        """Every history without its last `count` events (a shorter history becomes empty)."""
        kept = np.maximum(self.lengths - count, 0)
        offsets = np.concatenate([[0], np.cumsum(kept)])
        rows = roomy(np.dtype(np.int32), int(offsets[-1]))
        for users, mine in blocks(self.offsets):
            lengths = self.lengths[users]
            position = np.arange(mine.start, mine.stop) - np.repeat(self.offsets[users], lengths)
            keep = position < np.repeat(kept[users], lengths)
            rows[offsets[users.start] : offsets[users.stop]] = self.rows[mine][keep]
        return Interactions(rows, offsets, self.item_ids, self.user_ids)

    def summary(self) -> dict[str, Any]:
        """What the bundle says of its training data."""
        lengths = self.lengths
        return {
            "users": len(lengths),
            "items": len(self.item_ids),
            "events": len(self.rows),
            "median_history": float(np.median(lengths)) if len(lengths) else 0.0,
            "longest_history": int(lengths.max(initial=0)),
        }


def read_interactions(path: Path, item_ids: Sequence[str] | None = None) -> Interactions:
    """Read `path` by its ending: .inter (RecBole), .csv, .parquet, otherwise `user item item …` lines.

    A folder is read as the Parquet parts in it, by name; where these have a column `sequence`, as the export of the
    service's log has, a user's events are in its order whatever their timestamps say. Tables need the columns user_id
    and item_id, and timestamp unless their rows are in order of time. With
    `item_ids` (a bundle's, in order of rows) events of other items are left out; without, rows follow the order
    of first appearance. The events need not fit in memory: see `grouping`. Raises `DataError`.
    """
    try:
        try:
            return _collect(path, item_ids, None)
        except pa.ArrowInvalid as error:
            if (wider := wider_time(error)) is None:
                raise
            return _collect(path, item_ids, wider)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(bad_row(path, error)) from None


def _collect(path: Path, item_ids: Sequence[str] | None, time_type: pa.DataType | None) -> Interactions:
    histories = Histories(item_ids)
    for chunk in read_chunks(path, time_type):
        histories.add(chunk.users, chunk.items, chunk.order)
    if not histories.events:
        raise DataError(f"{path} holds no events")
    found = histories.grouped()
    return Interactions(found.rows, found.offsets, found.item_ids, found.user_ids)
