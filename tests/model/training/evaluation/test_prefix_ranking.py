"""Ranks of prefixes against the leave-one-out evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.config import ModelConfig
from model.training.evaluation import prefix_ranking
from model.training.evaluation.leave_one_out import leave_one_out
from model.training.evaluation.next_event_ranking import PredictionTask
from model.training.evaluation.prefix_ranking import NetworkScorer, Prefixes, rank_prefixes
from tests.model.builders import network_of, random_weights
from tests.model.training.histories import histories_of_lengths

CONFIG = ModelConfig(items=30, dim=8, expansion=1, layers=1)
LENGTHS = [5, 0, 9, 1, 2, 7, 30]


def last_events() -> tuple[PredictionTask, np.ndarray]:
    data = histories_of_lengths(LENGTHS, 30)
    lengths = np.array(LENGTHS)
    first = np.where(lengths >= 2, lengths - 1, lengths)
    return PredictionTask(data.rows.astype(np.int64), data.offsets, first), lengths


@pytest.mark.parametrize("tokens", [1 << 16, 12])
def test_ranks_equal_those_of_leave_one_out(monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    monkeypatch.setattr(prefix_ranking, "_MAX_TOKENS", tokens)
    network = network_of(CONFIG, random_weights(CONFIG))
    task, _ = last_events()
    found = rank_prefixes(NetworkScorer(network, np.ones(31, bool)), task, 30)
    expected = leave_one_out(network, histories_of_lengths(LENGTHS, 30))
    ranks = np.where(expected.masked == 31, 0, expected.masked)
    assert found.ranks.tolist() == ranks.tolist()
    assert found.targets.tolist() == expected.targets.tolist()
    assert (found.shown > 0).tolist() == expected.recommended.tolist()


def test_events_of_unknown_items_are_left_out_of_histories() -> None:
    network = network_of(CONFIG, random_weights(CONFIG))
    known = np.arange(31) <= 20
    rows = np.array([3, 25, 7, 30, 21, 9, 26])
    short = np.array([3, 7, 9])
    scorer = NetworkScorer(network, known)
    with torch.no_grad():
        outputs = scorer.outputs(Prefixes([rows], [2]))
        expected = scorer.outputs(Prefixes([short], [1]))
    # Before 7 the network has seen 3; before 30, 21 and 9 it has seen 3, 7; before 26 all three.
    torch.testing.assert_close(outputs[:1], expected[:1])
    torch.testing.assert_close(outputs[1:4], expected[1:2].expand(3, -1))


def test_unknown_item_has_no_rank_and_is_not_shown() -> None:
    network = network_of(CONFIG, random_weights(CONFIG))
    task = PredictionTask(np.array([3, 7, 25]), np.array([0, 3]), np.array([1]))
    found = rank_prefixes(NetworkScorer(network, np.arange(31) <= 20), task, 30)
    assert found.ranks[0] > 0
    assert found.ranks[1] == 0
    assert not found.shown[21:].any()
    assert found.shown.sum() == 20


def test_every_event_after_the_first_to_predict_is_ranked_by_its_own_history() -> None:
    network = network_of(CONFIG, random_weights(CONFIG))
    rows = np.array([3, 7, 25, 4, 9])
    scorer = NetworkScorer(network, np.ones(31, bool))
    together = rank_prefixes(scorer, PredictionTask(rows, np.array([0, 5]), np.array([2])), 30)
    for end, rank in zip((3, 4, 5), together.ranks, strict=True):
        alone = rank_prefixes(scorer, PredictionTask(rows[:end], np.array([0, end]), np.array([end - 1])), 30)
        assert alone.ranks.tolist() == [rank]
