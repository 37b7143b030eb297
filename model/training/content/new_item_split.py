"""Split events to measure recommendations of new items.

    last events    each user's last event is predicted; new are the items that a hash of the id holds out
    by time        the newest tenth of the events is predicted; new are also the items that are first seen then

No event of a new item is trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ingest.errors import DataError
from model.training.content.held_out_items import first_items_only, held_out_rows, with_new_items_last
from model.training.data.interactions import Interactions
from model.training.data.time_split import Timeline
from model.training.evaluation.next_event_ranking import PredictionTask

LAST_EVENTS, BY_TIME = "last events", "by time"
_NEWEST = 0.1
_MAX_USERS = 50_000
_MIN_HISTORY = 4


@dataclass(frozen=True, slots=True)
class NewItemSplit:
    """Events to train on and to predict.

    Attributes:
        protocol: `LAST_EVENTS` or `BY_TIME`.
        train: events that models may see; the trainer holds out each user's last two of them itself.
        item_ids: V ids; those of `train` first, in its order, then the new ones.
        task: histories over all items, and the events to predict.
    """

    protocol: str
    train: Interactions
    item_ids: list[str]
    task: PredictionTask

    @property
    def trained(self) -> int:
        """Number of items that are not new."""
        return len(self.train.item_ids)


def split_last_events(data: Interactions, fraction: float) -> NewItemSplit:
    """Hold items out, and predict each user's last event.

    Raises:
        DataError: no item is held out, or nothing is left to train on.
    """
    is_new = held_out_rows(data.item_ids, fraction)
    ordered = with_new_items_last(data, is_new)
    train = first_items_only(ordered, int((~is_new[1:]).sum()))
    first = np.where(ordered.lengths >= 2, ordered.lengths - 1, ordered.lengths)
    task = PredictionTask(ordered.rows.astype(np.int64), ordered.offsets, first)
    return _checked(NewItemSplit(LAST_EVENTS, train, list(ordered.item_ids), task))


def split_new_items_by_time(timeline: Timeline, fraction: float) -> NewItemSplit:
    """Hold items out, and predict the newest tenth of the events.

    Raises:
        DataError: no item is held out, or nothing is left to train on.
    """
    cut = timeline.cut(_NEWEST, None)
    before = timeline.before(cut)
    is_new = held_out_rows(before.item_ids, fraction)
    ordered = with_new_items_last(before, is_new)
    train = first_items_only(ordered, int((~is_new[1:]).sum()))
    known = set(train.item_ids)
    item_ids = [*train.item_ids, *(item_id for item_id in timeline.item_ids if item_id not in known)]
    row_of = {item_id: row for row, item_id in enumerate(item_ids, start=1)}
    rows = np.array([row_of[item_id] for item_id in timeline.item_ids], np.int64)[timeline.items]
    older = np.concatenate([[0], np.cumsum(timeline.times < cut)])
    first = older[timeline.offsets[1:]] - older[timeline.offsets[:-1]]
    return _checked(NewItemSplit(BY_TIME, train, item_ids, PredictionTask(rows, timeline.offsets, first)))


def _checked(split: NewItemSplit) -> NewItemSplit:
    """Check that there is something to train on and to predict.

    At most `_MAX_USERS`, evenly spaced, are measured.
    """
    if len(split.item_ids) == split.trained:
        raise DataError("no item is held out; give a larger --hold-out-items")
    if not (split.train.lengths >= _MIN_HISTORY).any():
        raise DataError(f"no user has {_MIN_HISTORY} events to train on; give a smaller --hold-out-items")
    counts = np.diff(split.task.offsets) - split.task.first
    users = np.flatnonzero(counts)
    if len(users) <= _MAX_USERS:
        return split
    measured = np.zeros(len(counts), bool)
    measured[users[np.linspace(0, len(users) - 1, _MAX_USERS).astype(np.int64)]] = True
    first = np.where(measured, split.task.first, np.diff(split.task.offsets))
    task = PredictionTask(split.task.rows, split.task.offsets, first)
    return NewItemSplit(split.protocol, split.train, split.item_ids, task)
