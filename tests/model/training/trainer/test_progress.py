"""The epochs of a run, in a file and on stderr."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.training.trainer.progress import open_epoch_log, read_epochs


def test_repeated_epochs_count_as_written_last_and_damaged_lines_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"epoch": 1, "loss": 3}\n{"epoch": 2, "loss": 2}\n{"epoch": 2, "loss": 1}\n[]\n{"epoch": 3, "lo'
    )
    assert read_epochs(tmp_path) == [{"epoch": 1, "loss": 3}, {"epoch": 2, "loss": 1}]


def test_epoch_after_half_a_line_is_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "loss": 3}\n{"epoch": 2, "lo')
    entry = {"epoch": 2, "loss": 2.0, "seconds": 1.0}
    for _ in range(2):
        with open_epoch_log(tmp_path, 2, "training on cpu") as report:
            report(entry)
    assert read_epochs(tmp_path) == [{"epoch": 1, "loss": 3}, entry]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


def test_folder_without_metrics_has_no_epochs(tmp_path: Path) -> None:
    assert read_epochs(tmp_path) == []


def test_epochs_are_written_and_validations_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [
        {"epoch": 1, "loss": 3.0, "seconds": 60.0, "events": 10},
        {"epoch": 2, "loss": 2.5, "seconds": 60.0, "events": 10, "validation_ndcg@10": 0.25, "best": 0.25},
        {"epoch": 3, "diverged": True, "learning_rate": 0.001},
    ]
    with open_epoch_log(tmp_path, 4, "training on cpu") as report:
        for entry in entries:
            report(entry)
    assert read_epochs(tmp_path) == entries
    shown = capsys.readouterr().err
    assert "training on cpu" in shown
    assert "epoch 2/4: loss 2.5000 validation NDCG@10 0.2500 (best 0.2500) (at most 2 more minutes)" in shown
    assert "learning_rate=0.001" in shown


def test_disabled_log_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_epoch_log(tmp_path, 4, "training on cpu", enabled=False) as report:
        report({"epoch": 1, "loss": 3.0, "seconds": 60.0, "events": 10})
    assert read_epochs(tmp_path) == []
    assert capsys.readouterr().err == ""
