"""User histories for training and evaluation.

A user's events are ordered by time, and events of equal time by position in the file. Ordering them by item id would
leak the catalogue's order into the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.read_options import ReadOptions
from model.training.data.data_size import DataSize
from model.training.data.disk_arrays import allocate
from model.training.data.history_sorting import user_blocks
from model.training.data.input_files import InputReport, read_histories
from model.training.event_types.type_column import TypeColumn

_COUNTED_EVENTS = 1 << 22  # at a time


@dataclass(frozen=True, slots=True)
class Interactions:
    """Histories of all users, one after the other, each oldest first.

    Attributes:
        rows: (N,) int32, embedding row of every event, from 1 to V.
        offsets: (U + 1,) int64; user u's events are rows[offsets[u]:offsets[u + 1]].
        item_ids: V ids; row r belongs to item_ids[r - 1].
        user_ids: U ids.
        newest_time: newest timestamp of a file of events, Unix seconds; None if the events have none.
        types: (N,) types of the events; None if they have only one.
    """

    rows: NDArray[np.int32]
    offsets: NDArray[np.int64]
    item_ids: Sequence[str]
    user_ids: Sequence[str]
    newest_time: float | None = None
    types: TypeColumn | None = None

    @property
    def size(self) -> DataSize:
        """Numbers of users, items and events."""
        return DataSize(len(self.user_ids), len(self.item_ids), len(self.rows))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(U,) int64, number of events of each user."""
        return np.diff(self.offsets)

    def popularity(self) -> NDArray[np.int64]:
        """Count the events of each row: (V + 1,) int64."""
        counts = np.zeros(len(self.item_ids) + 1, np.int64)
        for begin in range(0, len(self.rows), _COUNTED_EVENTS):
            counts += np.bincount(self.rows[begin : begin + _COUNTED_EVENTS], minlength=len(counts))
        return counts

    def without_last(self, count: int) -> Interactions:
        """Remove the last `count` events of every history; shorter histories become empty."""
        kept = np.maximum(self.lengths - count, 0)
        offsets = np.concatenate([[0], np.cumsum(kept)])
        rows = allocate(np.dtype(np.int32), int(offsets[-1]))
        types = None if self.types is None else replace(self.types, codes=allocate(np.dtype(np.uint8), len(rows)))
        for users, events in user_blocks(self.offsets):
            lengths = self.lengths[users]
            position = np.arange(events.start, events.stop) - np.repeat(self.offsets[users], lengths)
            keep = position < np.repeat(kept[users], lengths)
            target = slice(offsets[users.start], offsets[users.stop])
            rows[target] = self.rows[events][keep]
            if types is not None and self.types is not None:
                types.codes[target] = self.types.codes[events][keep]
        return Interactions(rows, offsets, self.item_ids, self.user_ids, types=types)

    def summary(self) -> dict[str, Any]:
        """Return the figures that a bundle's manifest records about its training data."""
        lengths = self.lengths
        return {
            "users": len(lengths),
            "items": len(self.item_ids),
            "events": len(self.rows),
            "median_history": float(np.median(lengths)) if len(lengths) else 0.0,
            "longest_history": int(lengths.max(initial=0)),
        } | ({} if self.types is None else {"types": self.types.counts()})


def read_interactions(
    paths: Sequence[Path],
    options: ReadOptions | None = None,
    item_ids: Sequence[str] | None = None,
    report: InputReport | None = None,
) -> Interactions:
    """Read histories from files of events and exports of the log.

    The content of a file decides how it is read, not its name. The data may be larger than memory.

    Args:
        paths: the files and folders. Several are ordered by time as one.
        options: how to read the files where their content does not say.
        item_ids: ids of a bundle's items in order of rows; events of other items are left out. None numbers the
            items in order of their first event.
        report: filled while reading.

    Raises:
        DataError: a path cannot be read or holds no events.
    """
    report = report or InputReport()
    histories = read_histories(paths, options or ReadOptions(), item_ids, report)
    rows, offsets, item_ids, user_ids = histories.rows, histories.offsets, histories.item_ids, histories.user_ids
    return Interactions(rows, offsets, item_ids, user_ids, report.newest_time, histories.types)
