"""A log in time: what stands before a moment is trained on, what stands after it is asked.

The time of an event is its timestamp, but never earlier than that of the event before it in the user's history
(clients state timestamps; the order of a history is the order of arrival). What is held out is therefore always the
newest end of a history, and no later event can tell what an earlier one was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model.training.data.history_builder import Histories, blocks, roomy
from model.training.data.interactions import Interactions
from model.training.data.readers import read_export
from model.training.errors import DataError


@dataclass(frozen=True, slots=True)
class Timeline:
    """All histories with their times.

    items    (N,) index into `item_ids` of every event; user u's are items[offsets[u]:offsets[u + 1]], oldest first
    times    (N,) Unix seconds, not decreasing within a user
    offsets  (U + 1,)
    """

    items: NDArray[np.int32]
    times: NDArray[np.float64]
    offsets: NDArray[np.int64]
    item_ids: Sequence[str]
    user_ids: Sequence[str]

    def cut(self, fraction: float, hours: float | None) -> float:
        """The moment from which events are held out: the newest `fraction` of all, or with `hours` the newest ones.

        Events of one time stay together, so a little more than the fraction may be held out.
        """
        if hours is not None:
            return float(self.times.max() - hours * 3600.0)
        place = len(self.times) - max(1, round(len(self.times) * fraction))
        return float(np.partition(self.times, place)[place])

    def before(self, moment: float) -> Interactions:
        """The histories up to `moment` (exclusive), of the users and items that have any."""
        kept = self.times < moment
        per_user = np.add.reduceat(np.append(kept, False), self.offsets[:-1], dtype=np.int64)
        per_user[np.diff(self.offsets) == 0] = 0
        appears = np.zeros(len(self.item_ids), bool)
        for _, events in blocks(self.offsets):
            appears[self.items[events][kept[events]]] = True
        appearing = np.flatnonzero(appears)
        row_of = np.zeros(len(self.item_ids), np.int32)
        row_of[appearing] = np.arange(1, len(appearing) + 1)
        users = np.flatnonzero(per_user)
        ends = np.concatenate([[0], np.cumsum(per_user)])
        rows = roomy(np.dtype(np.int32), int(ends[-1]))
        for some, events in blocks(self.offsets):
            rows[ends[some.start] : ends[some.stop]] = row_of[self.items[events][kept[events]]]
        return Interactions(
            rows=rows,
            offsets=np.concatenate([[0], np.cumsum(per_user[users])]),
            item_ids=[self.item_ids[item] for item in appearing.tolist()],
            user_ids=[self.user_ids[user] for user in users.tolist()],
        )

    def last_time_before(self, moment: float) -> float:
        """The time of the newest event before `moment`."""
        return float(self.times[self.times < moment].max())

    def asked_after(self, moment: float, at_most: int) -> NDArray[np.bool_]:
        """(N,) which events are asked: those after `moment`, and of these the newest, about `at_most`."""
        later = np.sort(self.times[self.times > moment])
        if len(later) > at_most:
            moment = max(moment, float(np.nextafter(later[-at_most], -np.inf)))
        result: NDArray[np.bool_] = self.times > moment
        return result


def read_timeline(folder: Path) -> Timeline:
    """The histories of an exported log, which need not fit in memory: see `grouping`; raises `DataError`."""
    histories = Histories(None)
    try:
        for chunk in read_export(folder, times=True) if any(folder.glob("*.parquet")) else ():
            histories.add(chunk.users, chunk.items, chunk.order, chunk.times)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{folder} cannot be read: {error}") from None
    if not histories.events:
        raise DataError("the log holds no events; there is nothing to train on")
    found = histories.grouped()
    items, times = found.rows, found.times
    assert times is not None  # noqa: S101 - they were given
    items -= 1
    for users, events in blocks(found.offsets):
        codes = np.repeat(np.arange(users.stop - users.start), np.diff(found.offsets[users.start : users.stop + 1]))
        times[events] = _running_maximum(times[events], codes)
    return Timeline(items, times, found.offsets, found.item_ids, found.user_ids)


def _running_maximum(times: NDArray[np.float64], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The newest time so far within each user, whose codes do not decrease."""
    distinct, rank = np.unique(times, return_inverse=True)
    # A later user's numbers all lie above an earlier one's, so one pass serves all users.
    stacked = np.maximum.accumulate(codes.astype(np.int64) * len(distinct) + rank)
    result: NDArray[np.float64] = distinct[stacked % len(distinct)]
    return result
