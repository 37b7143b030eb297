"""Checkpoints and results of runs on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ingest.errors import DataError
from model.training.trainer.checkpoint import (
    RESULT_FILE,
    Checkpoint,
    load_checkpoint,
    load_result,
    save_checkpoint,
    save_result,
)

CPU = torch.device("cpu")
IDENTITY = {"seed": 1}


def test_saved_checkpoint_loads_with_equal_numbers_and_tensors(tmp_path: Path) -> None:
    checkpoint = Checkpoint({"run": IDENTITY, "epoch": 3}, {"model.a": torch.arange(4.0), "adam.0": torch.ones(2, 2)})
    save_checkpoint(tmp_path, checkpoint)
    loaded = load_checkpoint(tmp_path, IDENTITY, CPU)
    assert loaded is not None
    assert loaded.numbers == checkpoint.numbers
    assert loaded.tensors.keys() == checkpoint.tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in checkpoint.tensors.items())


def test_second_checkpoint_replaces_the_first(tmp_path: Path) -> None:
    for epoch in (1, 2):
        save_checkpoint(tmp_path, Checkpoint({"run": IDENTITY, "epoch": epoch}, {"model.a": torch.ones(1)}))
    loaded = load_checkpoint(tmp_path, IDENTITY, CPU)
    assert loaded is not None
    assert loaded.numbers["epoch"] == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_empty_folder_has_neither_checkpoint_nor_result(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, IDENTITY, CPU) is None
    assert load_result(tmp_path, IDENTITY) is None


def test_checkpoint_and_result_of_another_run_raise(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, Checkpoint({"run": IDENTITY}, {"model.a": torch.ones(1)}))
    save_result(tmp_path, IDENTITY, {"version": "v1"})
    with pytest.raises(DataError, match="another folder"):
        load_checkpoint(tmp_path, {"seed": 2}, CPU)
    with pytest.raises(DataError, match="another folder"):
        load_result(tmp_path, {"seed": 2})


def test_saved_result_loads(tmp_path: Path) -> None:
    save_result(tmp_path, IDENTITY, {"version": "v1"})
    assert load_result(tmp_path, IDENTITY) == {"version": "v1"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"run": {'])
def test_damaged_result_raises(tmp_path: Path, content: str) -> None:
    (tmp_path / RESULT_FILE).write_text(content)
    with pytest.raises(DataError, match="is damaged"):
        load_result(tmp_path, IDENTITY)
