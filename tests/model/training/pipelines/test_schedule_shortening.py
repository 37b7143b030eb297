"""Schedules that are cut short when validation is best early."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import ModelConfig
from model.training.data.interactions import Interactions
from model.training.pipelines.schedule_shortening import shorter_schedule, train_on_schedule
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.progress import read_epochs
from model.training.trainer.trainer import Trainer
from model.training.trainer.training_run import TrainingRun

ITEMS = 60
CONFIG = ModelConfig(items=ITEMS, dim=16, expansion=1, conv_width=3, layers=1)
LONG = Hyperparameters(
    window=8, batch=8, epochs=60, learning_rate=2e-2, warmup_steps=2, evaluate_every=2, patience=3, dropout=0.0,
    embedding_dropout=0.0,
)  # fmt: skip


def noisy_histories(folder: Path, hyperparameters: Hyperparameters = LONG) -> TrainingRun:
    """A run on few events, most of them noise."""
    rng = np.random.default_rng(0)
    rows = rng.integers(1, ITEMS + 1, (60, 8)).astype(np.int32)
    follows = rng.random(rows[:, 1:].shape) < 0.4
    rows[:, 1:][follows] = (rows[:, :-1] % ITEMS + 1)[follows]
    ids = [str(row) for row in range(1, ITEMS + 1)]
    data = Interactions(rows.ravel(), np.arange(61) * 8, ids, [str(user) for user in range(60)])
    return TrainingRun(data, CONFIG, hyperparameters, folder, torch.device("cpu"))


@pytest.mark.parametrize(
    ("best_epoch", "epochs"),
    [(1, 3), (4, 8), (20, 40), (21, None), (60, None)],
)
def test_schedule_is_twice_the_best_epoch_if_that_was_early(best_epoch: int, epochs: int | None) -> None:
    shorter = shorter_schedule(LONG, best_epoch)
    assert (shorter and shorter.epochs) == epochs


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_shortest_schedules_are_kept(epochs: int) -> None:
    assert shorter_schedule(replace(LONG, epochs=epochs), 1) is None


def test_shorter_schedule_validates_twenty_times_at_most() -> None:
    shorter = shorter_schedule(replace(LONG, epochs=1000, evaluate_every=50), 300)
    assert shorter is not None
    assert (shorter.epochs, shorter.evaluate_every) == (600, 30)


def test_early_best_validation_trains_again_and_keeps_the_better(tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    alone = Trainer(noisy_histories(tmp_path / "alone")).run(lambda _: None)
    assert alone.best_epoch <= LONG.epochs // 3  # else this data does not try anything
    run = noisy_histories(tmp_path / "run")
    result = train_on_schedule(run, "try")
    found = {run.folder: alone.metrics["validation_ndcg@10"]}
    for name in ("shorter", "decayed"):
        epochs = read_epochs(run.folder / name)
        assert len(epochs) <= 2 * alone.best_epoch
        validations = [entry["validation_ndcg@10"] for entry in epochs if "validation_ndcg@10" in entry]
        found[run.folder / name] = max(validations)
    assert len(set(found.values())) == 3  # three trainings
    assert result.metrics["validation_ndcg@10"] == max(found.values())
    assert found[result.run.folder] == max(found.values())
    assert (result.run.hyperparameters.table_decay > 0) == (result.run.folder.name == "decayed")


def test_given_decay_of_the_table_is_kept(tmp_path: Path) -> None:
    result = train_on_schedule(noisy_histories(tmp_path, replace(LONG, table_decay=0.5)), "try")
    assert (tmp_path / "shorter").exists()
    assert not (tmp_path / "decayed").exists()
    assert result.run.hyperparameters.table_decay == 0.5


def test_finished_schedules_are_not_trained_again(tmp_path: Path) -> None:
    first = train_on_schedule(noisy_histories(tmp_path), "try")
    lines = (tmp_path / "shorter" / "metrics.jsonl").read_text()
    again = train_on_schedule(noisy_histories(tmp_path), "try")
    assert again.metrics == first.metrics
    assert (tmp_path / "shorter" / "metrics.jsonl").read_text() == lines


def test_late_best_validation_keeps_the_schedule(tmp_path: Path) -> None:
    result = train_on_schedule(noisy_histories(tmp_path, replace(LONG, epochs=3, evaluate_every=1)), "try")
    assert result.run.hyperparameters.epochs == 3
    assert not (tmp_path / "shorter").exists()
