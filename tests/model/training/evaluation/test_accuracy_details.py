"""Noise of a metric, coverage, and accuracy on rare items."""

from __future__ import annotations

import numpy as np
import pytest

from model.training.evaluation.accuracy_details import accuracy_details, bootstrap_interval, mean_over_items
from model.training.evaluation.leave_one_out import leave_one_out
from tests.model.training.evaluation.test_leave_one_out import TABLE, TableNetwork, histories


def test_bootstrap_interval_is_that_of_resampled_users() -> None:
    rng = np.random.default_rng(1)
    gains = rng.choice([0.0, 0.0, 0.3, 1.0], 400)
    plain = [rng.choice(gains, len(gains)).mean() for _ in range(4000)]
    assert bootstrap_interval(gains) == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=4e-3)


def test_interval_holds_the_truth_in_95_of_100_samples() -> None:
    rng, covered = np.random.default_rng(2), 0
    for _ in range(200):
        low, high = bootstrap_interval((rng.random(300) < 0.3).astype(float))
        covered += low <= 0.3 <= high
    assert 180 <= covered <= 199


def test_interval_of_equal_gains_is_a_point() -> None:
    assert bootstrap_interval(np.full(7, 0.5)) == [0.5, 0.5]


def test_every_item_counts_once() -> None:
    gains, items = np.array([1.0, 1.0, 1.0, 0.0, 0.5]), np.array([2, 2, 2, 7, 7])
    assert mean_over_items(gains, items) == pytest.approx((1.0 + 0.25) / 2)


def test_coverage_counts_items_in_any_list_without_the_seen_ones() -> None:
    # Of 12 items each user sees one, and the list has the 10 best of the other eleven.
    table = [[float(-row) for row in range(13)]] * 13
    data = histories([1, 2], [2, 3], items=12)
    details = accuracy_details(leave_one_out(TableNetwork(table), data), data)
    assert details["coverage@10"] == 11 / 12


def test_list_shorter_than_ten_covers_only_its_items() -> None:
    data = histories([1, 2, 3, 4], items=5)
    ranks = leave_one_out(TableNetwork(TABLE), data)
    assert np.flatnonzero(ranks.recommended).tolist() == [4, 5]
    assert ranks.targets.tolist() == [4]
