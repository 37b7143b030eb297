"""The trainer on a CPU: learning, early stopping, restarts and resuming."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ingest.errors import DataError
from model.config import ModelConfig
from model.training.data.interactions import Interactions
from model.training.evaluation.leave_one_out import LeaveOneOutRanks, leave_one_out
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.trainer import Trainer, TrainingResult
from model.training.trainer.training_run import TrainingRun

CPU = torch.device("cpu")
ITEMS = 40
CONFIG = ModelConfig(items=ITEMS, dim=16, expansion=1, conv_width=3, layers=1)
SHORT = Hyperparameters(window=10, batch=16, epochs=6, learning_rate=5e-3, warmup_steps=5, evaluate_every=2, seed=3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: small networks gain nothing from a second."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def markov(users: int, length: int, seed: int = 0) -> Interactions:
    """Return histories whose items mostly follow from the previous item."""
    rng = np.random.default_rng(seed)
    after = rng.integers(1, ITEMS + 1, (ITEMS + 1, 2))
    popular = rng.permutation(np.arange(1, ITEMS + 1))
    rows = np.empty((users, length), np.int32)
    rows[:, 0] = rng.integers(1, ITEMS + 1, users)
    for t in range(1, length):
        follow = after[rows[:, t - 1], rng.integers(0, 2, users)]
        any_item = popular[np.minimum(rng.geometric(0.1, users) - 1, ITEMS - 1)]
        rows[:, t] = np.where(rng.random(users) < 0.9, follow, any_item)
    ids = [f"i{row}" for row in range(1, ITEMS + 1)]
    return Interactions(rows.ravel(), np.arange(users + 1) * length, ids, [str(user) for user in range(users)])


def train(
    folder: Path,
    data: Interactions,
    hyperparameters: Hyperparameters = SHORT,
    config: ModelConfig = CONFIG,
    stop_after: int = 0,
) -> tuple[TrainingResult | None, list[dict[str, Any]]]:
    """Train in `folder`; interrupt after epoch `stop_after`, unless it is 0."""
    lines: list[dict[str, Any]] = []

    def report(line: dict[str, Any]) -> None:
        lines.append(line)
        if line["epoch"] == stop_after:
            raise KeyboardInterrupt

    folder.mkdir(exist_ok=True)
    trainer = Trainer(TrainingRun(data, config, hyperparameters, folder, CPU))
    try:
        return trainer.run(report), lines
    except KeyboardInterrupt:
        return None, lines


def weights_of(trained: TrainingResult | None) -> dict[str, torch.Tensor]:
    assert trained is not None
    return dict(trained.network.state_dict())


def have_equal_weights(a: TrainingResult | None, b: TrainingResult | None) -> bool:
    first, second = weights_of(a), weights_of(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def by_popularity(data: Interactions) -> float:
    """Return NDCG@10 of recommending the most frequent items to everybody."""
    order = np.argsort(-data.without_last(2).popularity()[1:], kind="stable") + 1
    rank_of = np.empty(ITEMS + 1, np.int64)
    rank_of[order] = np.arange(1, ITEMS + 1)
    ranks = rank_of[data.rows[data.offsets[1:] - 1]]
    return LeaveOneOutRanks(ranks, ranks).metrics()["ndcg@10"]


@pytest.mark.parametrize("start_token", [True, False])
def test_loss_falls_and_model_beats_popularity(tmp_path: Path, start_token: bool) -> None:
    data = markov(users=200, length=20)
    hyperparameters = replace(SHORT, epochs=20, evaluate_every=10)
    trained, lines = train(tmp_path / "run", data, hyperparameters, replace(CONFIG, start_token=start_token))
    assert trained is not None
    losses = [line["loss"] for line in lines]
    assert [line["epoch"] for line in lines] == list(range(1, 21))
    assert losses[0] == pytest.approx(np.log(ITEMS + 1), abs=0.3)
    assert losses[-1] < 0.75 * losses[0]
    assert trained.metrics["ndcg@10"] > 1.3 * by_popularity(data)
    assert trained.metrics == leave_one_out(trained.network, data).metrics() | {
        "validation_ndcg@10": max(line.get("validation_ndcg@10", 0.0) for line in lines)
    }


def test_diverged_run_restarts_at_half_the_learning_rate(tmp_path: Path) -> None:
    data, hyperparameters = markov(users=50, length=12), replace(SHORT, epochs=4)
    diverged, lines = train(tmp_path / "diverged", data, replace(hyperparameters, learning_rate=300.0))
    assert [line["learning_rate"] for line in lines if "diverged" in line] == [150.0]
    calm, _ = train(tmp_path / "calm", data, replace(hyperparameters, learning_rate=150.0))
    assert have_equal_weights(diverged, calm)


def test_run_that_diverges_after_every_restart_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"give a smaller --learning-rate"):
        train(tmp_path / "run", markov(users=50, length=12), replace(SHORT, learning_rate=1e6))


def test_sampled_negatives_reach_the_accuracy_of_the_full_softmax(tmp_path: Path) -> None:
    data = markov(users=200, length=20)
    hyperparameters = replace(SHORT, epochs=20, evaluate_every=10)
    full, _ = train(tmp_path / "full", data, hyperparameters)
    sampled, lines = train(tmp_path / "sampled", data, replace(hyperparameters, full_softmax=ITEMS - 1, negatives=31))
    same, _ = train(tmp_path / "same", data, replace(hyperparameters, full_softmax=ITEMS))
    assert full is not None and sampled is not None
    assert have_equal_weights(full, same)
    assert not have_equal_weights(full, sampled)
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert sampled.metrics["ndcg@10"] > 0.95 * full.metrics["ndcg@10"]


def test_interrupted_run_ends_with_the_same_result(tmp_path: Path) -> None:
    """Weights are bit for bit equal, wherever the run is interrupted."""
    data = markov(users=60, length=14)
    whole, lines = train(tmp_path / "whole", data)
    for cuts in ([2], [3], [2, 5]):
        folder = tmp_path / f"cut-{cuts}"
        for cut in cuts:
            assert train(folder, data, stop_after=cut)[0] is None
        rest, after = train(folder, data)
        # An epoch is reported before its checkpoint is written, so one that ends there is trained and reported again.
        assert after[0]["epoch"] == (cuts[-1] - 1) // 2 * 2 + 1
        assert [line["loss"] for line in after] == [line["loss"] for line in lines[-len(after) :]]
        assert have_equal_weights(rest, whole)
        assert rest is not None and whole is not None
        assert rest.metrics == whole.metrics
        assert rest.best_epoch == whole.best_epoch


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    data = markov(users=60, length=14)
    first, _ = train(tmp_path / "run", data)
    again, lines = train(tmp_path / "run", data)
    assert not lines
    assert have_equal_weights(again, first)


def test_seed_determines_the_weights(tmp_path: Path) -> None:
    data = markov(users=60, length=14)
    hyperparameters = replace(SHORT, epochs=2)
    one, same = (train(tmp_path / name, data, hyperparameters)[0] for name in ("one", "same"))
    other, _ = train(tmp_path / "other", data, replace(hyperparameters, seed=4))
    assert have_equal_weights(one, same)
    assert not have_equal_weights(one, other)


@pytest.mark.parametrize("change", ["hyperparameters", "config", "data"])
def test_folder_of_another_run_is_rejected(tmp_path: Path, change: str) -> None:
    data = markov(users=60, length=14)
    train(tmp_path, data, stop_after=3)
    hyperparameters = replace(SHORT, dropout=0.5) if change == "hyperparameters" else SHORT
    config = replace(CONFIG, conv_width=4) if change == "config" else CONFIG
    if change == "data":
        data = markov(users=61, length=14)
    with pytest.raises(DataError, match="another folder"):
        train(tmp_path, data, hyperparameters, config)


def test_run_stops_when_validation_stops_improving(tmp_path: Path) -> None:
    """Random histories leave nothing to learn."""
    rng = np.random.default_rng(1)
    rows = rng.integers(1, ITEMS + 1, 400).astype(np.int32)
    data = replace(markov(users=40, length=10), rows=rows)
    hyperparameters = replace(SHORT, epochs=200, evaluate_every=1, patience=3, learning_rate=0.05)
    trained, lines = train(tmp_path / "run", data, hyperparameters)
    assert trained is not None
    assert len(lines) < 200
    assert trained.best_epoch == len(lines) - 3
    scores = [line["validation_ndcg@10"] for line in lines]
    assert trained.best_epoch == 1 + int(np.argmax(scores))
    assert trained.metrics["validation_ndcg@10"] == max(scores)
    validation = leave_one_out(trained.network, data.without_last(1)).metrics()
    assert validation["ndcg@10"] == pytest.approx(max(scores)), "the weights are those of the best epoch"


def test_diverged_run_leaves_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="smaller --learning-rate"):
        train(tmp_path / "run", markov(40, 12), replace(SHORT, learning_rate=1e30))
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_refit_trains_on_all_events_for_the_given_epochs(tmp_path: Path) -> None:
    data = markov(users=60, length=14)
    lines: list[dict[str, Any]] = []
    refit = Trainer(TrainingRun(data, CONFIG, SHORT, tmp_path, CPU), refit_epochs=3).run(lines.append)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert {line["events"] for line in lines} == {60 * 14}
    assert (refit.metrics, refit.best_epoch) == ({}, 3)


def test_histories_of_less_than_three_events_raise(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no user has 3 events"):
        train(tmp_path / "run", markov(users=5, length=2))


def test_trainer_passes_the_decay_of_the_table_on(tmp_path: Path) -> None:
    data = markov(20, 6)
    norms = []
    for decay in (0.0, 50.0):
        (folder := tmp_path / str(decay)).mkdir()
        hyperparameters = replace(SHORT, epochs=2, table_decay=decay)
        result = Trainer(TrainingRun(data, CONFIG, hyperparameters, folder, CPU)).run(lambda figures: None)
        norms.append(float(result.network.item_embedding.weight.norm()))
    assert norms[1] < 0.8 * norms[0]
