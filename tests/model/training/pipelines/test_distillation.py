"""Teachers of a run and their soft targets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ingest.errors import DataError
from model.config import ModelConfig
from model.training.data.data_size import DataSize
from model.training.pipelines.distillation import train_teachers
from model.training.trainer.hyperparameter_choice import choose_hyperparameters
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.training_run import TrainingRun
from tests.model.training.histories import histories_of_lengths

CONFIG = ModelConfig(items=20, dim=8, layers=1)


def student(folder: Path, hyperparameters: Hyperparameters) -> TrainingRun:
    data = histories_of_lengths([12] * 50, 20)
    return TrainingRun(data, CONFIG, hyperparameters, folder, torch.device("cpu"))


def test_teachers_are_trained_once_and_found_by_a_resumed_run(tmp_path: Path) -> None:
    run = student(tmp_path, choose_hyperparameters(DataSize(50, 20, 600), {"teachers": 2, "epochs": 3}))
    soft_targets = train_teachers(run)
    assert soft_targets is not None
    assert soft_targets.items.shape == (500, 20)
    assert sorted(path.name for path in (tmp_path / "teachers").iterdir()) == ["1", "2"]
    metrics = (tmp_path / "teachers" / "2" / "metrics.jsonl").read_text()
    again = train_teachers(run)
    assert again is not None
    assert torch.equal(again.shares, soft_targets.shares)
    assert (tmp_path / "teachers" / "2" / "metrics.jsonl").read_text() == metrics


def test_teachers_of_a_refit_learn_all_events(tmp_path: Path) -> None:
    run = student(tmp_path, choose_hyperparameters(DataSize(50, 20, 600), {"teachers": 1, "epochs": 2}))
    soft_targets = train_teachers(run, is_refit=True)
    assert soft_targets is not None
    assert len(soft_targets.items) == 600


def test_run_without_teachers_has_no_soft_targets(tmp_path: Path) -> None:
    assert train_teachers(student(tmp_path, Hyperparameters())) is None


def test_catalogue_too_large_for_the_full_softmax_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--teachers 0"):
        train_teachers(student(tmp_path, Hyperparameters(teachers=1, full_softmax=10)))
