"""Test accuracy by length of the history and by popularity of the item."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.network import RecBLR
from model.ranking_metrics import ndcg
from model.training.data.interactions import Interactions
from model.training.evaluation.ranking import Questions, rank_next

_GROUPS = 6
_MAX_USERS = 100_000


class GroupAccuracy(NamedTuple):
    """NDCG@10 of the test events whose grouping value lies between `low` and `high`, both included."""

    low: int
    high: int
    ndcg: float
    events: int


def accuracy_by_group(network: RecBLR, data: Interactions) -> tuple[list[GroupAccuracy], list[GroupAccuracy]]:
    """Group the test events, each user's last one, and compute each group's NDCG@10.

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
    questions = Questions(rows.astype(np.int64), np.concatenate([[0], np.cumsum(lengths)]), lengths - 1)
    ranks = rank_next(network, data.popularity(), questions)
    popularity = data.without_last(1).popularity()[questions.rows[questions.offsets[1:] - 1]]
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
