"""Results for each model and seed, and their table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from loadtests.peers.accuracy import comparison
from loadtests.peers.accuracy.comparison import run_all, summarise
from loadtests.peers.accuracy.rankers import RANKERS, RankingJob, UserRanks
from model.training.data.interactions import Interactions

USERS = 40


@pytest.fixture
def job(tmp_path: Path) -> RankingJob:
    rows = np.tile(np.array([1, 2, 3, 4], np.int32), USERS)
    ids = [str(number) for number in range(4)], [str(number) for number in range(USERS)]
    data = Interactions(rows, np.arange(0, 4 * USERS + 1, 4), *ids)
    return RankingJob(data, 0, tmp_path, torch.device("cpu"), {"epochs": 2}, "python", 10)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Models and seeds that were computed.

    Our model ranks first, the baseline third.
    """
    found: list[tuple[str, int]] = []

    def ranker(name: str, rank: int) -> None:
        def run(job: RankingJob) -> UserRanks:
            found.append((name, job.seed))
            return UserRanks(np.full(USERS, rank), np.full(USERS, rank + 30), 1.5, 4)

        monkeypatch.setitem(RANKERS, name, run)

    ranker("recblr", 1)
    ranker("popularity", 3)
    return found


def test_each_model_and_seed_has_a_json_and_is_computed_once(job: RankingJob, calls: list[tuple[str, int]]) -> None:
    first = run_all(["recblr", "popularity"], [1, 2], job)
    assert calls == [("recblr", 1), ("recblr", 2), ("popularity", 1)]
    assert sorted(file.name for file in job.folder.glob("*.json")) == [
        "popularity-1.json",
        "recblr-1.json",
        "recblr-2.json",
    ]
    assert run_all(["recblr", "popularity"], [1, 2], job) == first
    assert len(calls) == 3


def test_missing_result_alone_is_computed(job: RankingJob, calls: list[tuple[str, int]]) -> None:
    run_all(["recblr"], [1, 2], job)
    (job.folder / "recblr-2.json").unlink()
    run_all(["recblr"], [1, 2], job)
    assert calls[2:] == [("recblr", 2)]


def test_result_of_other_options_or_data_is_computed_again(job: RankingJob, calls: list[tuple[str, int]]) -> None:
    run_all(["recblr"], [1], job)
    run_all(["recblr"], [1], replace(job, given={"epochs": 3}))
    run_all(["recblr"], [1], replace(job, data=job.data.without_last(1)))
    assert len(calls) == 3


def test_table_pairs_users_and_sorts_by_accuracy(job: RankingJob, calls: list[tuple[str, int]]) -> None:
    best, other = summarise(run_all(["popularity", "recblr"], [1, 2], job))
    assert (best["model"], best["seeds"], best["ndcg@10"], best["masked_hr@10"]) == ("recblr", 2, 1.0, 0.0)
    assert (other["model"], other["seeds"], other["ndcg@10"]) == ("popularity", 1, 0.5)
    assert other["ahead"] == {"kept": [0.5, 0.5, 0.5], "masked": [0.0, 0.0, 0.0]}
    assert "ahead" not in best


def test_interval_covers_zero_if_models_differ_by_chance(job: RankingJob) -> None:
    rng = np.random.default_rng(0)
    results = [
        {
            "model": model,
            "metrics": {"ndcg@10": 0.5},
            "training_s": 1.0,
            "conditions": {"commit": "a"},
            "ranks": dict.fromkeys(("kept", "masked"), rng.integers(1, 20, 500).tolist()),
        }
        for model in ("recblr", "sasrec")
    ]
    _, low, high = next(row for row in summarise(results) if row["model"] == "sasrec")["ahead"]["kept"]
    assert low < 0 < high


def test_stored_results_are_whole_files(job: RankingJob, calls: list[tuple[str, int]]) -> None:
    run_all(["popularity"], [1], job)
    assert not list(job.folder.glob("*.tmp"))
    stored = json.loads((job.folder / "popularity-1.json").read_text())
    assert stored["ranks"]["kept"] == [3] * USERS
    assert stored["ranks"]["masked"] == [0] * USERS
    assert comparison.identity_of(job.data) == stored["data"]
