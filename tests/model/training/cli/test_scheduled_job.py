"""Lock, timeout, metrics and log line of the nightly job."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import DataError
from model.training.cli import retrain_command
from model.training.cli.scheduled_job import exclusive_locks, time_limit
from model.training.publishing import registry as registry_module
from tests.model.training.logs import append
from tests.model.training.pipelines.retrain_harness import circle, file_contents, run_retrain
from tests.store.backends import SqliteBackend


def samples(path: Path) -> dict[str, float]:
    """Return the metrics of a text file by name and labels."""
    lines = (line.rpartition(" ") for line in path.read_text().splitlines())
    return {name: float(value) for name, _, value in lines}


def log_line(stderr: str) -> dict[str, Any]:
    """Return the one JSON line of the outcome."""
    [line] = [line for line in stderr.splitlines() if line.startswith("{")]
    return dict(json.loads(line))


@pytest.mark.parametrize("locked", ["work", "bundles"])
def test_second_retrain_on_a_folder_in_use_exits_with_2(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str], locked: str
) -> None:
    for folder in ("work", "bundles"):
        (tmp_path / folder).mkdir()
    with exclusive_locks(tmp_path / locked):
        code, _, error = run_retrain(tmp_path, capsys)
    assert code == 2
    assert f"another retrain uses {tmp_path / locked}" in error
    assert file_contents(tmp_path / "bundles") == {}
    assert run_retrain(tmp_path, capsys)[0] == 0  # the lock has ended


def test_first_retrains_with_different_work_folders_exclude_each_other(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = tmp_path / "new" / "bundles"
    with exclusive_locks(tmp_path / "other work", registry):
        code, _, error = run_retrain(tmp_path, capsys, "--bundles", str(registry))
        assert (code, f"another retrain uses {registry}" in error) == (2, True)
    assert not registry.exists()  # nothing was published


def test_lock_of_a_folder_that_was_replaced_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bundles"
    monkeypatch.setattr("fcntl.flock", lambda *_: folder.rename(tmp_path / "old"))
    with pytest.raises(DataError, match="another retrain uses"), exclusive_locks(folder):
        pass


def test_time_limit_stops_the_job_with_one_sentence() -> None:
    with pytest.raises(DataError, match="not finished within 1e-05 hours"), time_limit(1e-5):
        time.sleep(10)
    with time_limit(1e-5):
        pass
    time.sleep(0.1)  # the alarm is off


def test_retrain_that_takes_too_long_exits_with_2_and_publishes_nothing(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = run_retrain(tmp_path, capsys, "--timeout-hours", "0.00001")
    assert code == 2
    assert log_line(error)["outcome"] == "failed"
    assert "--timeout-hours" in log_line(error)["reason"]
    assert not (tmp_path / "bundles").exists()


def test_outcomes_are_logged_and_measured(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = tmp_path / "retrain.prom"
    code, result, error = run_retrain(tmp_path, capsys, "--metrics", str(metrics))
    line = log_line(error)
    assert (code, line["outcome"], line["level"], line["version"]) == (0, "published", "INFO", result["version"])
    first = samples(metrics)
    assert first['recblr_retrain_outcome{outcome="published"}'] == 1
    assert first["recblr_retrain_last_published_timestamp_seconds"] == pytest.approx(time.time(), abs=60)
    assert first['recblr_retrain_ndcg_at_10{model="new"}'] == result["new"]["ndcg@10"]

    code, _, error = run_retrain(tmp_path, capsys, "--metrics", str(metrics))
    assert (code, log_line(error)["outcome"]) == (3, "declined")
    second = samples(metrics)
    assert second['recblr_retrain_outcome{outcome="published"}'] == 0
    published = "recblr_retrain_last_published_timestamp_seconds"
    assert second[published] == first[published]
    assert second["recblr_retrain_last_success_timestamp_seconds"] > first[published]

    code, _, error = run_retrain(tmp_path, capsys, "--metrics", str(metrics), "--min-events", "100000")
    assert (code, log_line(error)["level"]) == (2, "ERROR")
    third = samples(metrics)
    assert third['recblr_retrain_outcome{outcome="failed"}'] == 1
    success = "recblr_retrain_last_success_timestamp_seconds"
    assert third[success] == second[success]


def test_withdrawn_version_exits_with_3(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tested: list[str] = []

    def withdraw(registry: Path, version: str, _settings: object) -> dict[str, Any]:
        tested.append(version)
        registry_module.withdraw(registry, version)
        return {"outcome": "withdrawn", "decision": "worse"}

    monkeypatch.setattr(retrain_command, "run_ab_test", withdraw)
    more = ["--ab-share", "0.1", "--service-url", "http://localhost:1"]
    assert run_retrain(tmp_path, capsys, *more)[0] == 0
    assert tested == []  # there was no live model to test against
    append(log, circle(12, 16, 20))
    code, result, error = run_retrain(tmp_path, capsys, *more, "--margin", "1")
    assert (code, result["published"], tested) == (3, False, [result["version"]])
    assert "withdrawn" in log_line(error)["reason"]
    assert "together" in run_retrain(tmp_path, capsys, "--ab-share", "0.1")[2]
