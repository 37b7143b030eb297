"""The worker of RecTools' transformers, as far as it runs without RecTools."""

from __future__ import annotations

import numpy as np
import pytest

from loadtests.peers.accuracy.rectools_worker import TRANSFORMERS, Histories, _ndcg, ranks_in_answers
from model.ranking_metrics import ndcg

HISTORIES = Histories(np.array([5, 6, 7, 8, 9, 4]), np.array([0, 3, 4, 6]))


def test_users_with_two_events_are_asked() -> None:
    assert HISTORIES.users.tolist() == [0, 2]


@pytest.mark.parametrize(("back", "targets"), [(1, [7, 4]), (2, [6, 9]), (3, [5, 0])])
def test_targets_are_the_last_events(back: int, targets: list[int]) -> None:
    assert HISTORIES.targets(back).tolist() == targets


def test_item_in_the_answer_of_its_user_has_that_rank() -> None:
    users, items, ranks = np.array([0, 0, 2, 2]), np.array([7, 4, 9, 7]), np.array([1, 2, 1, 2])
    assert ranks_in_answers(users, items, ranks, HISTORIES.users, HISTORIES.targets(1)).tolist() == [1, 0]


def test_validation_metric_is_that_of_the_project() -> None:
    ranks = np.array([0, 1, 3, 10, 11, 20])
    assert _ndcg(ranks) == pytest.approx(ndcg(ranks, 10))


def test_every_published_peer_is_there() -> None:
    assert set(TRANSFORMERS) == {"sasrec", "gsasrec", "esasrec", "bert4rec"}
