"""Groups of test events: together they are the whole test."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from model.training.data.interactions import Interactions
from model.training.evaluation.accuracy_by_group import accuracy_by_group
from model.training.evaluation.leave_one_out import leave_one_out
from tests.model.training.evaluation.random_histories import random_histories, small_network


def test_groups_together_give_the_accuracy_of_all_test_events() -> None:
    network, data = small_network(), random_histories()
    whole = leave_one_out(network, data).metrics()["ndcg@10"]
    for groups in accuracy_by_group(network, data):
        assert sum(group.events for group in groups) == 200
        assert 3 <= len(groups) <= 6
        assert sum(group.ndcg * group.events for group in groups) / 200 == pytest.approx(whole)
        assert all(one.low <= one.high < next_.low for one, next_ in itertools.pairwise(groups))


def test_popularity_counts_the_events_before_the_test_events() -> None:
    rows = np.array([1, 1, 2, 1, 2, 3], np.int32)
    histories = Interactions(rows, np.array([0, 3, 6]), ["a", "b", "c"], ["u", "v"])
    # The last event of each user (items b and c) is the test; before it, a occurs 3 times, b once and c never.
    _, by_popularity = accuracy_by_group(small_network(items=3), histories)
    assert [(group.low, group.high) for group in by_popularity] == [(0, 0), (1, 1)]


def test_no_history_of_two_events_gives_no_groups() -> None:
    histories = Interactions(np.array([1], np.int32), np.array([0, 1]), ["a"], ["u"])
    assert accuracy_by_group(small_network(items=3), histories) == ([], [])
