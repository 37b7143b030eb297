"""Ranking metrics against values computed by hand."""

from __future__ import annotations

from math import log2
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.ranking_metrics import discounted_gains, hit_rate, hits, mrr, ndcg, reciprocal_ranks

RANKS: NDArray[np.integer[Any]] = np.array([1, 2, 10, 11, 0, 2**62], np.int64)


def test_gains_beyond_the_cutoff_or_unranked_are_zero() -> None:
    assert hits(RANKS, 10).tolist() == [1, 1, 1, 0, 0, 0]
    assert discounted_gains(RANKS, 10) == pytest.approx([1, 1 / log2(3), 1 / log2(11), 0, 0, 0])
    assert reciprocal_ranks(RANKS, 10) == pytest.approx([1, 0.5, 0.1, 0, 0, 0])


def test_reciprocal_ranks_without_cutoff_count_every_rank_but_zero() -> None:
    assert reciprocal_ranks(RANKS) == pytest.approx([1, 0.5, 0.1, 1 / 11, 0, 2.0**-62])


def test_metrics_are_means_over_all_answers() -> None:
    assert hit_rate(RANKS, 10) == 0.5
    assert ndcg(RANKS, 10) == pytest.approx((1 + 1 / log2(3) + 1 / log2(11)) / 6)
    assert mrr(RANKS, 10) == pytest.approx(1.6 / 6)
    assert mrr(RANKS) == pytest.approx((1.6 + 1 / 11) / 6)


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint32])
def test_dtype_and_shape_of_ranks_do_not_matter(kind: type[np.integer[Any]]) -> None:
    ranks = np.array([[1, 3], [0, 25]], kind)
    assert discounted_gains(ranks, 20) == pytest.approx(np.array([[1, 0.5], [0, 0]]))
    assert ndcg(ranks, 20) == pytest.approx(0.375)


def test_metrics_without_ranks_are_zero() -> None:
    none = np.empty(0, np.int64)
    assert (hit_rate(none, 10), ndcg(none, 10), mrr(none)) == (0.0, 0.0, 0.0)
