"""The nightly job: training, comparing, refitting, publishing and declining."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.bundle.bundle import find_bundles, load_bundle, read_manifest, write_bundle
from model.config import ModelConfig
from model.training.pipelines import retrain
from tests.model.builders import bundle_of
from tests.model.training.logs import append
from tests.model.training.pipelines.retrain_harness import circle, file_contents, run_retrain
from tests.store.backends import SqliteBackend


def test_first_run_publishes_and_later_runs_compare(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, first, _ = run_retrain(tmp_path, capsys)
    assert (code, first["published"], first["live_version"], first["live"]) == (0, True, None, None)
    assert "no live model" in first["reason"]
    bundle = load_bundle(tmp_path / "bundles" / first["version"])
    # A tenth of 192 events is held out, the newest 19; the refit is trained on them too.
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
    code, second, _ = run_retrain(tmp_path, capsys, "--margin", "1")
    assert (code, second["published"], second["live_version"]) == (0, True, first["version"])
    assert second["compared_events"] == 24
    assert set(second["live"]) == set(second["new"]) == {"ndcg@10", "hr@10", "known_items"}
    assert list(find_bundles(tmp_path / "bundles"))[-1] == second["version"]
    assert second["log"] == {"events": 240, "added": 48, "reread": 0}

    # Less than a tenth is new: the cut is after the 240 events that the live model was trained on.
    append(log, circle(12, 20, 21))
    code, third, _ = run_retrain(tmp_path, capsys, "--margin", "1")
    assert (code, third["compared_events"]) == (0, 12)
    evaluated = load_bundle(Path(third["bundle"])).training_data["evaluated"]
    assert evaluated == {"events": 240, "last_timestamp": max(event[2] for event in circle(12, 0, 20))}


def test_worse_candidate_is_declined_and_registry_is_unchanged(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, first, _ = run_retrain(tmp_path, capsys, "--epochs", "60", "--patience", "60", "--warmup-steps", "5")
    assert code == 0
    assert first["new"]["ndcg@10"] > 0.9  # the model has learnt the circle
    before = file_contents(tmp_path / "bundles")
    append(log, circle(12, 16, 20))
    code, second, _ = run_retrain(tmp_path, capsys, "--epochs", "1", "--learning-rate", "0.00001")
    assert (code, second["published"]) == (3, False)
    assert second["new"]["ndcg@10"] < second["live"]["ndcg@10"]
    assert "declined: on the 24 newest events" in second["reason"]
    assert "lower by more than the margin of 0.005" in second["reason"]
    assert "version" not in second
    assert file_contents(tmp_path / "bundles") == before
    # The same candidate is within a wide margin.
    code, third, _ = run_retrain(tmp_path, capsys, "--epochs", "1", "--learning-rate", "0.00001", "--margin", "1")
    assert (code, third["new"]) == (0, second["new"])


def test_only_events_new_to_both_models_are_compared(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, first, _ = run_retrain(tmp_path, capsys)
    live = tmp_path / "bundles" / first["version"] / "manifest.json"
    manifest = json.loads(live.read_text())
    newest = sorted(e[2] for e in circle(12, 0, 16))
    manifest["training_data"]["last_timestamp"] = newest[-12]
    live.write_text(json.dumps(manifest))
    code, result, _ = run_retrain(tmp_path, capsys, "--seed", "2", "--margin", "1")
    assert (code, result["compared_events"]) == (0, 11)
    manifest["training_data"]["last_timestamp"] = newest[-1]
    live.write_text(json.dumps(manifest))
    (tmp_path / "bundles" / result["version"]).rename(tmp_path / "elsewhere")
    before = file_contents(tmp_path / "bundles")
    code, result, _ = run_retrain(tmp_path, capsys)
    assert (code, result["compared_events"], result["published"]) == (3, 0, False)
    assert "run" not in result
    assert (
        "declined before training: 0 events are newer than what both models were trained on, and 10 are needed"
        in result["reason"]
    )
    assert file_contents(tmp_path / "bundles") == before


def test_published_bundle_is_the_newest_despite_clocks_ahead(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundle_of(ModelConfig(5), created="2099-12-31T23:59:59+00:00")
    write_bundle(tmp_path / "bundles" / "v1", replace(bundle, training_data={"last_timestamp": 0.0}))
    code, result, _ = run_retrain(tmp_path, capsys)
    assert (code, result["live_version"]) == (0, "v1")
    assert list(find_bundles(tmp_path / "bundles")) == ["v1", result["version"]]


def test_old_bundles_are_removed_but_never_the_live_one(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(4):
        bundle = bundle_of(ModelConfig(5), version=f"v{n}", created=f"2026-01-0{n + 1}T00:00:00+00:00")
        write_bundle(tmp_path / "bundles" / f"v{n}", replace(bundle, training_data={"last_timestamp": 0.0}))
    (tmp_path / "bundles" / "other").mkdir()
    code, result, _ = run_retrain(tmp_path, capsys, "--keep", "1")
    assert code == 0
    assert result["live_version"] == "v3"
    assert result["removed"] == ["v0", "v1", "v2"]
    assert sorted(path.name for path in (tmp_path / "bundles").iterdir()) == sorted(
        ["v3", result["version"], "other"]
    )
    assert len(list((tmp_path / "work" / "runs").iterdir())) == 1


def test_killed_job_resumes(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retrain, "write_report", stop)
        assert run_retrain(tmp_path, capsys)[0] == 2
    assert not (tmp_path / "bundles").exists()
    [folder] = (tmp_path / "work" / "runs").iterdir()
    epochs = (folder / "metrics.jsonl").read_text()
    code, result, _ = run_retrain(tmp_path, capsys)
    assert (code, result["run"]) == (0, str(folder))
    assert (folder / "metrics.jsonl").read_text() == epochs  # no epoch was trained twice


def test_manifest_records_the_newest_event_trained_on(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, result, _ = run_retrain(tmp_path, capsys, "--holdout-hours", "1")
    summary = read_manifest(tmp_path / "bundles" / result["version"]).training_data
    times = [time for *_, time in circle(12, 0, 16)]
    assert summary["evaluated"]["last_timestamp"] == max(time for time in times if time < max(times) - 3600)
    assert summary["last_timestamp"] == max(times)
    assert summary["source"] == "event log"


def test_no_refit_publishes_the_compared_model(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, first, _ = run_retrain(tmp_path, capsys, "--no-refit")
    assert (code, first["refit"]) == (0, False)
    bundle = load_bundle(tmp_path / "bundles" / first["version"])
    assert bundle.training_data["events"] == 192 - 19
    assert bundle.training_data["last_timestamp"] == sorted(event[2] for event in circle(12, 0, 16))[-20]
    evaluated = load_bundle(Path(first["run"]) / "bundle")
    assert all(np.array_equal(evaluated.weights[name], value) for name, value in bundle.weights.items())
    assert not (Path(first["run"]) / "refit").exists()


def test_refit_is_trained_on_the_held_out_events(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the published model knows an item of the newest events."""
    append(log, [(f"user {user}", "brand new", 20_000.0) for user in range(12)])
    code, result, _ = run_retrain(tmp_path, capsys)
    assert code == 0
    published = {item.item_id: item.popularity for item in load_bundle(Path(result["bundle"])).items}
    evaluated = {item.item_id for item in load_bundle(Path(result["run"]) / "bundle").items}
    assert published["brand new"] == 12
    assert "brand new" not in evaluated
    assert result["new"]["known_items"] < 1.0


def test_other_files_among_the_runs_are_kept(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "work" / "runs" / "old").mkdir(parents=True)
    (tmp_path / "work" / "runs" / "other.txt").write_text("text")
    assert run_retrain(tmp_path, capsys, "--keep", "1")[0] == 0
    left = sorted(path.name for path in (tmp_path / "work" / "runs").iterdir())
    assert len(left) == 2
    assert left[1] == "other.txt"
