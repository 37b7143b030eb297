"""Split an exported event log by time.

Models are trained on the older events and evaluated on the newer ones.

    time             |---------------- train ----------------|--- held out ---|
                                                             cut              newest event

Clients choose timestamps, and clocks can be wrong. An event has two times here:

    own time    its timestamp, but never after its arrival: an event of the year 9999 has the time of its arrival, and
                imported history keeps its old timestamps. If that is still in the future, because the server's own
                clock was wrong, the own time is unknown.
    time        the newest own time so far in the user's history, whose order is that of arrival

The cut is a time, so training has the beginning of each history. Held out are events with an own time after the cut
and after all that the live model may have been fitted to.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.errors import DataError
from model.training.data.disk_arrays import allocate
from model.training.data.export_reader import read_export
from model.training.data.history_builder import Histories, HistoryBuilder
from model.training.data.history_sorting import user_blocks
from model.training.data.interactions import Interactions
from model.training.event_types.type_column import TypeColumn

_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Timeline:
    """Histories of all users, with the time of each event.

    Attributes:
        items: (N,) int32, index into `item_ids` of every event.
        times: (N,) float64, Unix seconds, not decreasing within a history; -inf before any time is known.
        own_times: (N,) float64, Unix seconds, in any order; -inf if unknown.
        offsets: (U + 1,) int64; user u's events are items[offsets[u]:offsets[u + 1]], oldest first.
        item_ids: V ids.
        user_ids: U ids.
        types: (N,) types of the events; None if they have only one.
    """

    items: NDArray[np.int32]
    times: NDArray[np.float64]
    own_times: NDArray[np.float64]
    offsets: NDArray[np.int64]
    item_ids: Sequence[str]
    user_ids: Sequence[str]
    types: TypeColumn | None = None

    def cut(self, fraction: float, hours: float | None) -> float:
        """Return the time from which events are held out.

        Args:
            fraction: fraction of the events to hold out, the newest ones. Events of equal time stay together, so
                slightly more can be held out.
            hours: hold out the last hours before the newest event instead.
        """
        if hours is not None:
            return float(self.times.max() - hours * _SECONDS_PER_HOUR)
        index = len(self.times) - max(1, round(len(self.times) * fraction))
        return float(np.partition(self.times, index)[index])

    def before(self, cut: float) -> Interactions:
        """Return the histories before the time `cut`.

        Users and items without events before it are left out.
        """
        is_kept = self.times < cut
        kept_of_user = np.add.reduceat(np.append(is_kept, False), self.offsets[:-1], dtype=np.int64)
        kept_of_user[np.diff(self.offsets) == 0] = 0  # reduceat gives an empty history the next user's first value
        item_occurs = np.zeros(len(self.item_ids), bool)
        for _, events in user_blocks(self.offsets):
            item_occurs[self.items[events][is_kept[events]]] = True
        items = np.flatnonzero(item_occurs)
        row_of = np.zeros(len(self.item_ids), np.int32)
        row_of[items] = np.arange(1, len(items) + 1)
        users = np.flatnonzero(kept_of_user)
        ends = np.concatenate([[0], np.cumsum(kept_of_user)])
        rows = allocate(np.dtype(np.int32), int(ends[-1]))
        types = None if self.types is None else replace(self.types, codes=allocate(np.dtype(np.uint8), len(rows)))
        for block, events in user_blocks(self.offsets):
            target = slice(ends[block.start], ends[block.stop])
            rows[target] = row_of[self.items[events][is_kept[events]]]
            if types is not None and self.types is not None:
                types.codes[target] = self.types.codes[events][is_kept[events]]
        return Interactions(
            rows=rows,
            offsets=np.concatenate([[0], np.cumsum(kept_of_user[users])]),
            item_ids=[self.item_ids[item] for item in items.tolist()],
            user_ids=[self.user_ids[user] for user in users.tolist()],
            types=types,
        )

    def newest_time_before(self, cut: float) -> float:
        """Return the time of the newest event before `cut`."""
        return float(self.times[self.times < cut].max())

    def newest_after(self, time: float, max_events: int) -> NDArray[np.bool_]:
        """Mark the newest events by own time after `time`.

        About `max_events` at most. Returns (N,) bool.
        """
        later = np.sort(self.own_times[self.own_times > time])
        if len(later) > max_events:
            time = max(time, float(np.nextafter(later[-max_events], -np.inf)))
        result: NDArray[np.bool_] = self.own_times > time
        return result


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """A timeline split by time.

    Attributes:
        cut: time from which no event is trained on.
        train: histories before the cut.
        trained_until: time of the newest event before the cut.
        held_out: (N,) bool, the events of the timeline to evaluate on: neither model was trained on them.
    """

    cut: float
    train: Interactions
    trained_until: float
    held_out: NDArray[np.bool_]

    @property
    def held_out_events(self) -> int:
        """Number of events to evaluate on."""
        return int(self.held_out.sum())


def split_by_time(
    timeline: Timeline,
    fraction: float,
    hours: float | None,
    *,
    live_trained_until: float,
    max_held_out: int,
    min_train: int,
) -> TimeSplit:
    """Split a timeline into events to train on and to compare on.

    Neither model was trained on the held-out events. The cut is never before the newest event that the live model
    was trained on.

    Args:
        timeline: all events.
        fraction: fraction of the events to hold out.
        hours: hold out the last hours before the newest event instead of a fraction.
        live_trained_until: time of the newest event that the live model was trained on; -inf if unknown.
        max_held_out: most events to evaluate on; the newest are taken.
        min_train: fewest events to train on.

    Raises:
        DataError: there are too few events to train on.
    """
    cut = max(timeline.cut(fraction, hours), float(np.nextafter(live_trained_until, math.inf)))
    train = timeline.before(cut)
    # The last two events of a history are for validation and test, and a target needs an event before it.
    if len(train.rows) < min_train or not (train.lengths >= 4).any():
        raise DataError(
            f"the log has {len(timeline.items)} events, {len(train.rows)} of them before the newest, held-out ones; "
            f"training needs {min_train} of these (--min-events) and a history of 4: collect more, or hold out less"
        )
    trained_until = timeline.newest_time_before(cut)
    held_out = timeline.newest_after(max(trained_until, live_trained_until), max_held_out)
    return TimeSplit(cut, train, trained_until, held_out)


def read_timeline(folder: Path, now: float | None = None) -> Timeline:
    """Read the histories of an export, which may be larger than memory.

    Args:
        folder: folder of the export.
        now: time of the export, Unix seconds; None for now. Later times are unknown.

    Raises:
        DataError: the folder cannot be read or holds no events.
    """
    builder = HistoryBuilder(None)
    for chunk in read_export(folder) if any(folder.glob("*.parquet")) else ():
        builder.add(chunk.users, chunk.items, chunk.sequences, chunk.times, chunk.types)
    if not builder.events:
        raise DataError("the log holds no events; there is nothing to train on")
    return timeline_of(builder.build(), now)


def timeline_of(histories: Histories, now: float | None = None) -> Timeline:
    """Return the timeline of histories with times; see `read_timeline`."""
    items, own_times = histories.rows, histories.times
    assert own_times is not None  # noqa: S101 - every chunk had times
    items -= 1
    times = allocate(np.dtype(np.float64), len(own_times))
    now = time.time() if now is None else now
    for users, events in user_blocks(histories.offsets):
        lengths = np.diff(histories.offsets[users.start : users.stop + 1])
        own_times[events] = np.where(own_times[events] > now, -math.inf, own_times[events])
        times[events] = _running_maximum(own_times[events], np.repeat(np.arange(len(lengths)), lengths))
    offsets, item_ids, user_ids = histories.offsets, histories.item_ids, histories.user_ids
    return Timeline(items, times, own_times, offsets, item_ids, user_ids, histories.types)


def _running_maximum(times: NDArray[np.float64], users: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the newest time so far within each user's events.

    `users` (n,) must not decrease.
    """
    distinct, rank = np.unique(times, return_inverse=True)
    # Each user's numbers are all above those of the users before, so one pass serves all users.
    running = np.maximum.accumulate(users.astype(np.int64) * len(distinct) + rank)
    result: NDArray[np.float64] = distinct[running % len(distinct)]
    return result
