"""Ranking metrics: hit rate, NDCG and MRR.

The project's only definition: training, model comparison and live accuracy all use it. Each answer has one relevant
item. The ideal discounted gain is then 1, so NDCG is 1 / log2(1 + rank) (Järvelin and Kekäläinen 2002).

A rank is the position of the relevant item in the ordered answer: 1 is the best, 0 means that the item is not in the
answer at any length. All functions take ranks of any shape and any integer dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.integer[Any]]
Gains = NDArray[np.float64]


def hits(ranks: Ranks, cutoff: int) -> Gains:
    """Return 1.0 for each rank within the first `cutoff`, else 0.0."""
    return _within(ranks, cutoff).astype(np.float64)


def discounted_gains(ranks: Ranks, cutoff: int) -> Gains:
    """Return each rank's discounted gain, 1 / log2(1 + rank).

    A rank beyond `cutoff` gains 0.0.
    """
    within = _within(ranks, cutoff)
    gains: Gains = within / np.log2(1.0 + np.where(within, ranks, 1))
    return gains


def reciprocal_ranks(ranks: Ranks, cutoff: int | None = None) -> Gains:
    """Return each rank's reciprocal, 1 / rank.

    A rank beyond `cutoff` gains 0.0; None: there is no cutoff.
    """
    within = _within(ranks, cutoff)
    gains: Gains = within / np.where(within, ranks, 1)
    return gains


def hit_rate(ranks: Ranks, cutoff: int) -> float:
    """Return HR@cutoff, the mean of `hits`; 0.0 without ranks."""
    return _mean(hits(ranks, cutoff))


def ndcg(ranks: Ranks, cutoff: int) -> float:
    """Return NDCG@cutoff, the mean of `discounted_gains`; 0.0 without ranks."""
    return _mean(discounted_gains(ranks, cutoff))


def mrr(ranks: Ranks, cutoff: int | None = None) -> float:
    """Return MRR@cutoff, the mean of `reciprocal_ranks`; 0.0 without ranks."""
    return _mean(reciprocal_ranks(ranks, cutoff))


def _within(ranks: Ranks, cutoff: int | None) -> NDArray[np.bool_]:
    ranked: NDArray[np.bool_] = ranks > 0
    return ranked if cutoff is None else ranked & (ranks <= cutoff)


def _mean(gains: Gains) -> float:
    return float(gains.mean()) if gains.size else 0.0
