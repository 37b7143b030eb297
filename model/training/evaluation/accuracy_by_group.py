"""Test accuracy by history length and by item popularity."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.network import RecBLR
from model.ranking_metrics import ndcg
from model.training.data.interactions import Interactions
from model.training.evaluation.next_event_ranking import PredictionTask, rank_next_events

_GROUPS = 6
_MAX_USERS = 100_000


class GroupAccuracy(NamedTuple):
    """NDCG@10 of the test events with values from `low` to `high`."""

    low: int
    high: int
    ndcg: float
    events: int


def accuracy_by_group(network: RecBLR, data: Interactions) -> tuple[list[GroupAccuracy], list[GroupAccuracy]]:
    """Compute NDCG@10 of groups of test events, each user's last event.

    At most 100,000 users, evenly spaced, are evaluated.

    Returns:
        Groups by the number of events before the test event, and groups by how often the item of the test event
        occurs in the data without the test events. Both are in ascending order, and empty if no user has 2 events.
    """
    users = np.flatnonzero(data.lengths >= 2)
    if not len(users):
        return [], []
    if len(users) > _MAX_USERS:
        users = users[np.linspace(0, len(users) - 1, _MAX_USERS).astype(np.int64)]
    lengths = data.lengths[users]
    rows = np.concatenate([data.rows[data.offsets[user] : data.offsets[user + 1]] for user in users])
    task = PredictionTask(rows.astype(np.int64), np.concatenate([[0], np.cumsum(lengths)]), lengths - 1)
    ranks = rank_next_events(network, data.popularity(), task)
    popularity = data.without_last(1).popularity()[task.rows[task.offsets[1:] - 1]]
    return _group(lengths - 1, ranks), _group(popularity, ranks)


def _group(values: NDArray[np.int64], ranks: NDArray[np.int64]) -> list[GroupAccuracy]:
    """Form groups of about equal size; equal values share a group."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _GROUPS + 1)[1:-1], method="lower"))
    group_of = np.searchsorted(edges, values, side="left")
    groups = []
    for number in np.unique(group_of):
        inside = group_of == number
        low, high = int(values[inside].min()), int(values[inside].max())
        groups.append(GroupAccuracy(low, high, ndcg(ranks[inside], 10), int(inside.sum())))
    return groups
