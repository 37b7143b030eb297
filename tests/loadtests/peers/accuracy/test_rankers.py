"""Rankers of each user's last item."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from loadtests.peers.accuracy.rankers import RANKERS, RankingJob, UserRanks
from model.ranking_metrics import hit_rate
from model.training.data.interactions import Interactions


@pytest.fixture
def job(tmp_path: Path) -> RankingJob:
    """Histories in which each item follows the one before it."""
    rng = np.random.default_rng(1)
    lengths = np.append(rng.integers(1, 13, 150), 12)
    starts = rng.integers(0, 20, len(lengths))
    rows = np.concatenate(
        [(start + np.arange(length)) % 20 + 1 for start, length in zip(starts, lengths, strict=True)]
    )
    ids = [str(number) for number in range(20)], [str(number) for number in range(len(lengths))]
    data = Interactions(rows.astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]), *ids)
    given = {"epochs": 60, "window": 16, "batch": 16, "teachers": 0, "dropout": 0.0, "embedding_dropout": 0.0}
    return RankingJob(data, 1, tmp_path, torch.device("cpu"), given, "python", 10)


@pytest.mark.parametrize("name", ["popularity", "item_knn"])
def test_baseline_ranks_each_user_with_two_events(job: RankingJob, name: str) -> None:
    assert len(RANKERS[name](job).kept) == (job.data.lengths >= 2).sum()


def test_our_ranks_are_in_order_of_users(job: RankingJob) -> None:
    ranks = RANKERS["recblr"](job)
    assert isinstance(ranks, UserRanks)
    lengths = job.data.lengths[job.data.lengths >= 2]
    assert len(ranks.kept) == len(lengths)
    # A user with one event before the last two teaches the order; the start alone does not say what is next.
    assert hit_rate(ranks.kept[lengths > 3], 1) > 0.95
    assert ranks.best_epoch > 0
