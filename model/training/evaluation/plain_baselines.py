"""Plain baselines under the protocol of the leave-one-out test.

They say what a metric is worth: a model that does not beat them has not learnt the order of events.

    popularity    items in order of their training events
    item_knn      sum over the user's 10 newest items of the cosine between the sets of users of two items

Both know the training events, without each user's last two. The sets of item_knn take the 50 newest training events
of a user, and users evenly spaced if there are too many. An item keeps its 200 nearest neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.training.data.interactions import Interactions
from model.training.evaluation.leave_one_out import LeaveOneOutRanks

_WINDOW = 50
_QUERY_ITEMS = 10
_NEIGHBOURS = 200
_MAX_PAIRS = 1 << 23
_MAX_SCORES = 1 << 29  # over all test users
_BLOCK_SCORES = 1 << 23


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """Similar items of each item, one after the other.

    Attributes:
        offsets: (V + 2,) int64, where those of row r begin.
        rows: neighbours.
        cosines: their similarity.
    """

    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]
    cosines: NDArray[np.float64]


def rank_by_baselines(data: Interactions) -> dict[str, LeaveOneOutRanks]:
    """Rank each user's last item by each baseline.

    A baseline is given the events before that item. With many users and items only some users, evenly spaced, are
    ranked. Empty if no history has two events.
    """
    users = np.flatnonzero(data.lengths >= 2)
    if not len(users):
        return {}
    items = len(data.item_ids)
    users = _evenly(users, max(1, _MAX_SCORES // (items + 1)))
    train = data.without_last(2)
    popularity = train.popularity().astype(np.float64)
    popularity[0] = -1.0
    neighbours = _neighbours(train)
    ranks: dict[str, list[NDArray[np.int64]]] = {"popularity": [], "item_knn": []}
    for block in np.array_split(users, -(-len(users) * (items + 1) // _BLOCK_SCORES)):
        histories = [data.rows[data.offsets[user] : data.offsets[user + 1]].astype(np.int64) for user in block]
        by_popularity = np.broadcast_to(popularity, (len(block), items + 1))
        # Items that no neighbour suggests are in order of popularity.
        by_knn = _knn_scores(histories, neighbours, items) + by_popularity * (1e-9 / max(1.0, popularity.max()))
        for name, scores in (("popularity", by_popularity), ("item_knn", by_knn)):
            ranks[name].append(_rank(scores, histories))
    return {name: _joined(found) for name, found in ranks.items()}


def baseline_metrics(data: Interactions) -> dict[str, dict[str, float]]:
    """Return the metrics of each baseline by name."""
    return {name: ranks.metrics() for name, ranks in rank_by_baselines(data).items()}


def _evenly(users: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return users if len(users) <= count else users[np.linspace(0, len(users) - 1, count).astype(np.int64)]


def _neighbours(train: Interactions) -> _Neighbours:
    """Find the nearest items of each item by their common users."""
    items = len(train.item_ids)
    users = np.flatnonzero(train.lengths >= 1)
    pairs_of_user = np.minimum(train.lengths[users], _WINDOW) ** 2
    if len(users) and pairs_of_user.sum() > _MAX_PAIRS:
        users = _evenly(users, max(1, int(_MAX_PAIRS / pairs_of_user.mean())))
    found: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for user in users:
        end = int(train.offsets[user + 1])
        own = np.unique(train.rows[max(int(train.offsets[user]), end - _WINDOW) : end]).astype(np.int64)
        found.append((own[:, None] * (items + 1) + own[None, :]).ravel())
    codes, together = np.unique(np.concatenate(found), return_counts=True)
    first, second = codes // (items + 1), codes % (items + 1)
    own_users = np.ones(items + 1)
    is_own = first == second
    own_users[first[is_own]] = together[is_own]
    first, second, together = first[~is_own], second[~is_own], together[~is_own]
    cosines = together / np.sqrt(own_users[first] * own_users[second])
    nearest = np.lexsort((second, -cosines, first))
    first, second, cosines = first[nearest], second[nearest], cosines[nearest]
    begin = np.searchsorted(first, np.arange(items + 2))
    is_kept = np.arange(len(first)) - begin[first] < _NEIGHBOURS
    first, second, cosines = first[is_kept], second[is_kept], cosines[is_kept]
    return _Neighbours(np.searchsorted(first, np.arange(items + 2)), second, cosines)


def _knn_scores(histories: list[NDArray[np.int64]], neighbours: _Neighbours, items: int) -> NDArray[np.float64]:
    scores = np.zeros((len(histories), items + 1))
    for line, history in enumerate(histories):
        for item in np.unique(history[:-1][-_QUERY_ITEMS:]):
            own = slice(neighbours.offsets[item], neighbours.offsets[item + 1])
            scores[line, neighbours.rows[own]] += neighbours.cosines[own]
    return scores


def _rank(scores: NDArray[np.float64], histories: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Rank the last item of each history.

    Returns (2, B): ranks among all items, and among unseen ones.
    Of items that tie, the one with the lower row ranks first.
    """
    ranks = np.empty((2, len(histories)), np.int64)
    for line, history in enumerate(histories):
        own, target = scores[line], history[-1]
        before = own > own[target]
        before[1:target] |= own[1:target] == own[target]
        before[0] = False
        seen = np.unique(history[:-1])
        ranks[0, line] = before.sum() + 1
        ranks[1, line] = len(own) if target in seen else ranks[0, line] - before[seen].sum()
    return ranks


def _joined(ranks: list[NDArray[np.int64]]) -> LeaveOneOutRanks:
    kept, masked = np.concatenate(ranks, axis=1)
    return LeaveOneOutRanks(kept, masked)
