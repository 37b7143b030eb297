"""The first retraining after `train`, with wrong clocks and imported history."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from model.bundle.bundle import load_bundle, read_manifest, write_bundle
from model.config import ModelConfig
from model.training.__main__ import main
from tests.model.builders import bundle_of
from tests.model.training.logs import append
from tests.model.training.pipelines.retrain_harness import circle, run_retrain
from tests.store.backends import SqliteBackend

FUTURE = 253_402_300_799.0  # the end of the year 9999
HISTORY = circle(12, 0, 16)
NEW = circle(12, 16, 18)


def train_on(folder: Path, lines: list[str], name: str = "history.csv") -> float:
    """Train on a file and publish; return the recorded `last_timestamp`."""
    (folder / name).write_text("\n".join(lines) + "\n")
    arguments = ["train", str(folder / name), "--out", str(folder / "run"), "--bundles", str(folder / "bundles")]
    arguments += ["--refit", "--device", "cpu", "--dim", "8", "--layers", "1", "--window", "16", "--epochs", "1"]
    assert main(arguments) == 0
    [bundle] = (folder / "bundles").iterdir()
    return float(read_manifest(bundle).training_data["last_timestamp"])


def table(events: list[tuple[str, str, float]], unit: float = 1.0) -> list[str]:
    return ["user_id,item_id,timestamp", *(f"{user},{item},{time * unit:.0f}" for user, item, time in events)]


def test_only_events_after_the_training_file_decide_on_the_first_night(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_on(tmp_path, table(HISTORY)) == max(event[2] for event in HISTORY)
    log = SqliteBackend(tmp_path / "events.db")
    append(log, HISTORY)  # loaded before going live
    code, result, _ = run_retrain(tmp_path, capsys)
    assert (code, result["compared_events"]) == (3, 0)
    assert "0 events are newer" in result["reason"]
    append(log, NEW)
    code, result, _ = run_retrain(tmp_path, capsys, "--margin", "1", "--holdout", "0.2")
    assert (code, result["compared_events"]) == (0, 24)


@pytest.mark.parametrize("unit", [1.0, 1e3, 1e6, 1e9])
def test_newest_time_of_a_file_is_in_seconds_whatever_its_unit(tmp_path: Path, unit: float) -> None:
    recent = [(user, item, 1_700_000_000.0 + time) for user, item, time in HISTORY]
    assert train_on(tmp_path, table(recent, unit)) == max(event[2] for event in recent)


@pytest.mark.parametrize("kind", ["without times", "with one time in the future"])
def test_events_before_the_training_never_decide_if_the_file_has_no_usable_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    started = time.time()
    if kind == "without times":
        histories = [f"u{user} " + " ".join(f"i{(user + n) % 12}" for n in range(16)) for user in range(12)]
        trained_until = train_on(tmp_path, histories, "history.txt")
    else:
        trained_until = train_on(tmp_path, table([*HISTORY, ("user 0", "item 1", 4_102_444_800.0)]))
    assert started <= trained_until <= time.time()
    log = SqliteBackend(tmp_path / "events.db")
    append(log, circle(12, 0, 20))
    assert run_retrain(tmp_path, capsys)[1]["compared_events"] == 0
    append(log, [(f"user {user}", f"item {user}", FUTURE) for user in range(12)])  # by wrong clocks, but new
    code, result, _ = run_retrain(tmp_path, capsys, "--margin", "1")
    assert (code, result["compared_events"]) == (0, 12)


def test_event_of_the_year_9999_does_not_stop_later_nights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = SqliteBackend(tmp_path / "events.db")
    append(log, [*HISTORY, ("user 0", "item 3", FUTURE)])
    code, first, _ = run_retrain(tmp_path, capsys)
    seen = load_bundle(Path(first["bundle"])).training_data["last_timestamp"]
    assert code == 0
    assert seen <= time.time()
    for night in (1, 2):
        append(log, [(f"user {user}", f"item {user + night}", time.time()) for user in range(10)])
        code, result, _ = run_retrain(tmp_path, capsys, "--margin", "1")
        assert (code, result["compared_events"]) == (0, 10), night  # the odd event decides in no night


def test_wrong_clock_of_the_server_does_not_stop_later_nights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = SqliteBackend(tmp_path / "events.db")
    append(log, [*HISTORY, *((f"user {user}", "odd", FUTURE) for user in range(12))])
    with closing(sqlite3.connect(log.path)) as db, db:
        db.execute("UPDATE events SET arrived = ? WHERE item_id = 'odd'", (FUTURE,))
    assert run_retrain(tmp_path, capsys)[0] == 0
    append(log, NEW)
    code, result, _ = run_retrain(tmp_path, capsys, "--margin", "1", "--holdout", "0.2")
    assert (code, result["compared_events"]) == (0, 24)


def test_events_before_a_bundle_without_a_recorded_time_never_decide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    bundle = replace(bundle_of(ModelConfig(5)), training_data={})
    write_bundle(tmp_path / "bundles" / "v1", bundle)
    append(SqliteBackend(tmp_path / "events.db"), HISTORY)
    code, result, _ = run_retrain(tmp_path, capsys)
    assert (code, result["compared_events"]) == (3, 0)
