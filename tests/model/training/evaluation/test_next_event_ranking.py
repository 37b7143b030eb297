"""Ranks of next events, against those of one history at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.config import ModelConfig
from model.ranking_metrics import ndcg
from model.training.data.interactions import Interactions
from model.training.evaluation.leave_one_out import leave_one_out
from model.training.evaluation.next_event_ranking import UNKNOWN_ITEM_RANK, PredictionTask, rank_next_events
from tests.model.builders import network_of, random_weights


@pytest.mark.parametrize("start_token", [True, False])
def test_ranks_equal_those_of_one_history_at_a_time(start_token: bool) -> None:
    config = ModelConfig(items=20, dim=8, start_token=start_token)
    network = network_of(config, random_weights(config))
    rng = np.random.default_rng(3)
    lengths = [1, 2, 5, 30, 7, 1]
    rows = rng.integers(0, 21, sum(lengths))  # 0: unknown to the model
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    first = np.array([0, 1, 0, 22, 3, 1])  # nothing to predict for the last user
    popularity = np.array([0, *rng.permutation(20)])
    found = rank_next_events(network, popularity, PredictionTask(rows, offsets, first))
    expected = []
    for user, begin in enumerate(first):
        history = rows[offsets[user] : offsets[user + 1]]
        for t in range(begin, len(history)):
            known = [int(row) for row in history[:t] if row]
            inputs = [0, *known] if start_token else known
            if history[t] == 0:
                expected.append(UNKNOWN_ITEM_RANK)
                continue
            scores = torch.from_numpy(popularity.astype(np.float32))
            if inputs:
                with torch.no_grad():
                    scores = network.item_embedding.weight @ network(torch.tensor([inputs]))[0][0, -1]
            expected.append(1 + int((scores[1:] > scores[history[t]]).sum()))
    assert found.tolist() == expected


def test_only_the_newest_events_before_the_first_prediction_are_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training.evaluation.next_event_ranking.MAX_CONTEXT_EVENTS", 5)
    config = ModelConfig(items=20, dim=8)
    network = network_of(config, random_weights(config))
    rows = np.random.default_rng(6).integers(1, 21, 30)
    popularity = np.ones(21, np.int64)
    whole = rank_next_events(network, popularity, PredictionTask(rows, np.array([0, 30]), np.array([27])))
    newest = rank_next_events(network, popularity, PredictionTask(rows[22:], np.array([0, 8]), np.array([5])))
    assert whole.tolist() == newest.tolist()


def test_ranks_of_last_events_agree_with_leave_one_out() -> None:
    config = ModelConfig(items=20, dim=8)
    network = network_of(config, random_weights(config))
    rng = np.random.default_rng(4)
    lengths = rng.integers(2, 30, 50)
    data = Interactions(
        rng.integers(1, 21, lengths.sum()).astype(np.int32),
        np.concatenate([[0], np.cumsum(lengths)]),
        [str(n) for n in range(20)],
        [str(n) for n in range(50)],
    )
    ranks = rank_next_events(
        network, data.popularity(), PredictionTask(data.rows.astype(np.int64), data.offsets, lengths - 1)
    )
    assert ndcg(ranks, 10) == pytest.approx(leave_one_out(network, data).metrics()["ndcg@10"], abs=1e-9)


def test_diverged_network_ranks_every_target_last() -> None:
    config = ModelConfig(items=5, dim=8)
    network = network_of(config, random_weights(config))
    with torch.no_grad():
        network.item_embedding.weight.fill_(float("nan"))
    task = PredictionTask(np.array([1, 2, 3]), np.array([0, 3]), np.array([1]))
    assert rank_next_events(network, np.zeros(6, np.int64), task).min() > 5
