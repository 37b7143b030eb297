"""The command `retrain`: exit codes, messages and options."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from model.training.__main__ import main
from tests.model.builders import bundle_of
from tests.model.training.logs import append
from tests.model.training.pipelines.retrain_harness import circle, run_retrain
from tests.store.backends import SqliteBackend


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--min-events", "1000"],
            "the log has 192 events, 173 of them before the newest, held-out ones; training needs",
        ),
        (["--holdout-hours", "1000"], "192 events, 0 of them before"),
        (["--state-url", "sqlite:////nonexistent/e.db"], "there is no event log"),
        (["--dim", "0"], "config.dim must be a whole number"),
    ],
)
def test_job_that_cannot_run_exits_with_2_and_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    append(SqliteBackend(tmp_path / "events.db"), circle(12, 0, 16))
    code, result, error = run_retrain(tmp_path, capsys, *options)
    assert (code, result) == (2, {})
    assert message in error
    assert [line[:7] for line in error.splitlines()] == ['{"time"', "error: "]
    assert not (tmp_path / "bundles").exists()


def test_log_without_events_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append(SqliteBackend(tmp_path / "events.db"), [])
    assert "the log holds no events" in run_retrain(tmp_path, capsys)[2]


def test_single_bundle_instead_of_a_registry_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "bundles", bundle_of(ModelConfig(5)))
    assert "--bundles must be the model registry" in run_retrain(tmp_path, capsys)[2]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--holdout", "0"), ("--holdout", "1"), ("--margin", "-1"), ("--holdout-hours", "inf"), ("--keep", "0")],
)
def test_option_out_of_range_is_a_usage_error(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["retrain", "--state-url", "sqlite:///e.db", "--bundles", "b", "--work", "w", option, value])
    assert f"argument {option}: must be" in capsys.readouterr().err
