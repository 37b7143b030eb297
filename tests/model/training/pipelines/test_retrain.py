"""The nightly job: what it trains on, what it asks, when it publishes, and that it otherwise changes nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.bundle.bundle import find_bundles, load_bundle, read_manifest, write_bundle
from model.config import ModelConfig
from model.training.__main__ import main
from tests.model.builders import bundle_of
from tests.model.training.logs import append
from tests.store.backends import SqliteBackend

ITEMS = 12


def circle(users: int, first: int, last: int) -> list[tuple[str, str, float]]:
    """Everybody goes around the same circle of items, each from a place of their own: easy to learn."""
    return [
        (f"user {user}", f"item {(user + n) % ITEMS}", 1000.0 * n + user)
        for n in range(first, last)
        for user in range(users)
    ]


def run(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any], str]:
    """Run the job on the log of the folder with a tiny recipe; exit code, result and what it said."""
    arguments = ["retrain", "--state-url", f"sqlite:///{folder}/events.db", "--bundles", str(folder / "bundles")]
    arguments += ["--work", str(folder / "work"), "--device", "cpu", "--dim", "8", "--layers", "1", "--window", "16"]
    arguments += ["--batch", "32", "--epochs", "6", "--evaluate-every", "3", "--learning-rate", "0.02"]
    arguments += ["--min-events", "50", "--min-compared", "10", *more]
    code = main(arguments)
    said = capsys.readouterr()
    lines = said.out.splitlines()
    return code, json.loads(lines[-1]) if lines else {}, said.err


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def log(tmp_path: Path) -> SqliteBackend:
    backend = SqliteBackend(tmp_path / "events.db")
    append(backend, circle(12, 0, 16))
    return backend


def test_the_first_run_publishes_and_the_next_one_compares(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, first, _ = run(tmp_path, capsys)
    assert (code, first["published"], first["live_version"], first["live"]) == (0, True, None, None)
    assert "no live model" in first["reason"]
    bundle = load_bundle(tmp_path / "bundles" / first["version"])
    # A tenth of 192 events is held out, the newest 19, and learnt once the recipe has been judged on them.
    times = sorted(event[2] for event in circle(12, 0, 16))
    assert bundle.training_data["events"] == sum(item.popularity for item in bundle.items) == 192
    assert bundle.training_data["last_timestamp"] == times[-1]
    assert bundle.training_data["refit"] is first["refit"] is True
    assert bundle.training_data["evaluated"] == {"events": 192 - 19, "last_timestamp": times[-20]}
    assert first["compared_events"] == 19
    assert bundle.metrics["time_split_ndcg@10"] == first["new"]["ndcg@10"]
    run_folder = Path(first["run"])
    assert {"report.html", "metrics.jsonl", "bundle"} <= {path.name for path in run_folder.iterdir()}
    assert "Newest events" in (run_folder / "report.html").read_text()

    append(log, circle(12, 16, 20))
    code, second, _ = run(tmp_path, capsys, "--margin", "1")
    assert (code, second["published"], second["live_version"]) == (0, True, first["version"])
    assert second["compared_events"] == 24
    assert set(second["live"]) == set(second["new"]) == {"ndcg@10", "hr@10", "known_items"}
    assert list(find_bundles(tmp_path / "bundles"))[-1] == second["version"]
    assert second["log"] == {"events": 240, "added": 48, "reread": 0}

    # Less than a tenth is new: both answer from the 240 events that the live one has seen.
    append(log, circle(12, 20, 21))
    code, third, _ = run(tmp_path, capsys, "--margin", "1")
    assert (code, third["compared_events"]) == (0, 12)
    evaluated = load_bundle(Path(third["bundle"])).training_data["evaluated"]
    assert evaluated == {"events": 240, "last_timestamp": max(event[2] for event in circle(12, 0, 20))}


def test_a_worse_model_is_declined_and_everything_stays(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, first, _ = run(tmp_path, capsys, "--epochs", "60", "--patience", "60", "--warmup-steps", "5")
    assert code == 0
    assert first["new"]["ndcg@10"] > 0.9  # it has learnt the circle
    before = contents(tmp_path / "bundles")
    append(log, circle(12, 16, 20))
    code, second, _ = run(tmp_path, capsys, "--epochs", "1", "--learning-rate", "0.00001")
    assert (code, second["published"]) == (3, False)
    assert second["new"]["ndcg@10"] < second["live"]["ndcg@10"]
    assert "declined: on the 24 newest events" in second["reason"]
    assert "more than the margin of 0.005 lower" in second["reason"]
    assert "version" not in second
    assert contents(tmp_path / "bundles") == before
    # The same is within a wide margin.
    code, third, _ = run(tmp_path, capsys, "--epochs", "1", "--learning-rate", "0.00001", "--margin", "1")
    assert (code, third["new"]) == (0, second["new"])


def test_only_what_neither_model_has_seen_decides(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, first, _ = run(tmp_path, capsys)
    live = tmp_path / "bundles" / first["version"] / "manifest.json"
    manifest = json.loads(live.read_text())
    newest = sorted(e[2] for e in circle(12, 0, 16))
    manifest["training_data"]["last_timestamp"] = newest[-12]
    live.write_text(json.dumps(manifest))
    code, result, _ = run(tmp_path, capsys, "--seed", "2", "--margin", "1")
    assert (code, result["compared_events"]) == (0, 11)
    manifest["training_data"]["last_timestamp"] = newest[-1]
    live.write_text(json.dumps(manifest))
    (tmp_path / "bundles" / result["version"]).rename(tmp_path / "elsewhere")
    before = contents(tmp_path / "bundles")
    code, result, _ = run(tmp_path, capsys)
    assert (code, result["compared_events"], result["published"]) == (3, 0, False)
    assert "run" not in result
    assert (
        "declined before training: 0 events are later than what both models have seen and 10 are needed"
        in result["reason"]
    )
    assert contents(tmp_path / "bundles") == before


def test_the_new_bundle_is_the_newest_whatever_the_clocks_say(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path / "bundles" / "v1", bundle_of(ModelConfig(5), created="2099-12-31T23:59:59+00:00"))
    code, result, _ = run(tmp_path, capsys)
    assert (code, result["live_version"]) == (0, "v1")
    assert list(find_bundles(tmp_path / "bundles")) == ["v1", result["version"]]


def test_old_bundles_go_and_the_live_one_never(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(4):
        bundle = bundle_of(ModelConfig(5), version=f"v{n}", created=f"2026-01-0{n + 1}T00:00:00+00:00")
        write_bundle(tmp_path / "bundles" / f"v{n}", bundle)
    (tmp_path / "bundles" / "notes").mkdir()
    code, result, _ = run(tmp_path, capsys, "--keep", "1")
    assert code == 0
    assert result["live_version"] == "v3"
    assert result["removed"] == ["v0", "v1", "v2"]
    assert sorted(path.name for path in (tmp_path / "bundles").iterdir()) == sorted(
        ["v3", result["version"], "notes"]
    )
    assert len(list((tmp_path / "work" / "runs").iterdir())) == 1


def test_a_killed_job_goes_on(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("model.training.pipelines.retrain.publish", stop)
        assert run(tmp_path, capsys)[0] == 2
    assert not (tmp_path / "bundles").exists()
    [folder] = (tmp_path / "work" / "runs").iterdir()
    epochs = (folder / "metrics.jsonl").read_text()
    code, result, _ = run(tmp_path, capsys)
    assert (code, result["run"]) == (0, str(folder))
    assert (folder / "metrics.jsonl").read_text() == epochs  # nothing was trained twice


@pytest.mark.parametrize(
    ("more", "says"),
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
def test_what_cannot_be_done_is_one_sentence(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    code, result, said = run(tmp_path, capsys, *more)
    assert (code, result) == (2, {})
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "bundles").exists()


def test_a_log_without_events_and_a_bundle_in_place_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    append(SqliteBackend(tmp_path / "events.db"), [])
    assert "the log holds no events" in run(tmp_path, capsys)[2]
    write_bundle(tmp_path / "bundles", bundle_of(ModelConfig(5)))
    assert "is one bundle; give --bundles the folder of versions" in run(tmp_path, capsys)[2]


def test_the_manifest_is_what_the_next_run_reads(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, result, _ = run(tmp_path, capsys, "--holdout-hours", "1")
    summary = read_manifest(tmp_path / "bundles" / result["version"]).training_data
    times = [time for *_, time in circle(12, 0, 16)]
    assert summary["evaluated"]["last_timestamp"] == max(time for time in times if time < max(times) - 3600)
    assert summary["last_timestamp"] == max(times)
    assert summary["source"] == "event log"


def test_without_a_refit_the_compared_model_is_published(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, first, _ = run(tmp_path, capsys, "--no-refit")
    assert (code, first["refit"]) == (0, False)
    bundle = load_bundle(tmp_path / "bundles" / first["version"])
    assert bundle.training_data["events"] == 192 - 19
    assert bundle.training_data["last_timestamp"] == sorted(event[2] for event in circle(12, 0, 16))[-20]
    evaluated = load_bundle(Path(first["run"]) / "bundle")
    assert all(np.array_equal(evaluated.weights[name], value) for name, value in bundle.weights.items())
    assert not (Path(first["run"]) / "refit").exists()


def test_the_refit_learns_what_was_held_out(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An item of the newest events is in the published catalogue, with its events; the evaluated model has none."""
    append(log, [(f"user {user}", "brand new", 20_000.0) for user in range(12)])
    code, result, _ = run(tmp_path, capsys)
    assert code == 0
    published = {item.item_id: item.popularity for item in load_bundle(Path(result["bundle"])).items}
    evaluated = {item.item_id for item in load_bundle(Path(result["run"]) / "bundle").items}
    assert published["brand new"] == 12
    assert "brand new" not in evaluated
    assert result["new"]["known_items"] < 1.0


def test_an_event_from_the_future_does_not_end_all_comparisons(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    append(log, [("user 0", "item 3", 32_503_680_000.0)])
    _, first, _ = run(tmp_path, capsys)
    seen = load_bundle(Path(first["bundle"])).training_data["last_timestamp"]
    assert seen <= time.time()
    append(log, [(f"user {user}", f"item {user}", seen + 5.0) for user in range(1, 12)])
    code, second, _ = run(tmp_path, capsys, "--margin", "1")
    assert (code, second["compared_events"]) == (0, 12)


def test_a_stray_file_among_the_runs_stays(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "work" / "runs" / "old").mkdir(parents=True)
    (tmp_path / "work" / "runs" / "notes.txt").write_text("mine")
    assert run(tmp_path, capsys, "--keep", "1")[0] == 0
    left = sorted(path.name for path in (tmp_path / "work" / "runs").iterdir())
    assert len(left) == 2
    assert left[1] == "notes.txt"
