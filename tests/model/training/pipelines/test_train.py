"""The pipeline `train`: results, registry, refit and resuming."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from model.bundle.bundle import find_bundles, load_bundle
from model.content.item_content import ItemContent
from model.training.__main__ import main
from model.training.trainer.progress import read_epochs
from tests.model.training.histories import SHORT_TRAINING

ROOT = Path(__file__).parents[4]


def test_finished_run_is_reported_and_not_trained_again(
    tmp_path: Path, circle_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(circle_file), "--out", str(tmp_path / "run"), *SHORT_TRAINING]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "bundle").rglob("*")}
    assert main(command) == 0
    again = capsys.readouterr()
    assert json.loads(again.out) == first
    assert "was finished before" in again.err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "bundle").rglob("*")} == files
    assert main([*command, "--dropout", "0.3"]) == 2
    assert "give --out another folder" in capsys.readouterr().err
    # Killed after the bundle was written and before the result was.
    (tmp_path / "run" / "result.json").unlink()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["ndcg@10"] == first["ndcg@10"]


def test_finished_run_with_other_item_ids_is_refused(
    tmp_path: Path, circle_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(circle_file), "--out", str(tmp_path / "run"), *SHORT_TRAINING]
    assert main(command) == 0
    circle_file.write_text(circle_file.read_text().replace(" i", " j"))
    assert main(command) == 2
    assert "give --out another folder" in capsys.readouterr().err


def test_report_of_reading_is_printed_before_the_training(
    tmp_path: Path, circle_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(circle_file), "--out", str(tmp_path / "run"), *SHORT_TRAINING]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{circle_file}: histories, a line `user item item …` for each user: 240 events"
    assert any(line.startswith("training on cpu") for line in lines[1:])


def test_equal_bundles_are_published_once(
    tmp_path: Path, circle_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = []
    for seed in ("1", "2", "2"):
        out = [
            "--out",
            str(tmp_path / f"run-{seed}"),
            "--bundles",
            str(tmp_path / "bundles"),
            "--seed",
            seed,
            "--force",
        ]
        assert main(["train", str(circle_file), *out, *SHORT_TRAINING]) == 0
        result = json.loads(capsys.readouterr().out)
        versions.append(result["version"])
        assert result["bundle"] == str(tmp_path / "bundles" / result["version"])
    assert list(find_bundles(tmp_path / "bundles")) == versions[:2]
    assert versions[2] == versions[1]


def test_worse_model_is_published_only_with_force(
    tmp_path: Path, circle_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundles = ["--bundles", str(tmp_path / "bundles"), *SHORT_TRAINING]
    good = ["--out", str(tmp_path / "good"), *bundles, "--epochs", "40", "--learning-rate", "0.01"]
    assert main(["train", str(circle_file), *good]) == 0
    assert json.loads(capsys.readouterr().out)["published"] is True
    bad = [
        "train",
        str(circle_file),
        "--out",
        str(tmp_path / "bad"),
        *bundles,
        "--epochs",
        "1",
        "--learning-rate",
        "1e-9",
    ]
    for _ in range(2):  # trained, and then finished before
        assert main(bad) == 3
        declined = capsys.readouterr()
        result = json.loads(declined.out)
        assert result["published"] is False
        assert "may have been trained on these events" in result["reason"]
        assert declined.err.endswith("--force publishes the new model all the same\n")
        assert len(find_bundles(tmp_path / "bundles")) == 1
    assert main([*bad, "--force"]) == 0
    assert list(find_bundles(tmp_path / "bundles"))[-1] == result["version"]


def test_refit_bundle_has_another_network_with_the_measured_metrics(
    tmp_path: Path, circle_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, bundles = [], []
    for name, more in (("plain", []), ("refit", ["--refit"])):
        assert main(["train", str(circle_file), "--out", str(tmp_path / name), *SHORT_TRAINING, *more]) == 0
        results.append(json.loads(capsys.readouterr().out))
        bundles.append(load_bundle(tmp_path / name / "bundle"))
        assert main(["evaluate", str(tmp_path / name / "bundle"), str(circle_file), "--device", "cpu"]) == 0
        evaluated = json.loads(capsys.readouterr().out)
        assert evaluated["refit"] is bool(more)
        assert set(evaluated["baselines"]) == {"popularity", "item_knn"}
        names = {name for name in evaluated if name.split("@")[0].removeprefix("masked_") in ("hr", "ndcg", "mrr")}
        assert evaluated["baselines"]["popularity"].keys() == names
        low, high = evaluated["ci95"]["ndcg@10"]
        assert low <= evaluated["ndcg@10"] <= high
        assert evaluated["coverage@10"] == 0.0  # every user has seen every item
        assert sum(group["events"] for group in evaluated["by_popularity"]) == evaluated["users"]
    plain, refit = bundles
    assert results[0]["ndcg@10"] == results[1]["ndcg@10"] == refit.metrics["ndcg@10"]
    assert not np.array_equal(plain.weights["item_embedding.weight"], refit.weights["item_embedding.weight"])
    assert [bundle.training_data["refit"] for bundle in bundles] == [False, True]
    epochs = read_epochs(tmp_path / "refit" / "refit")
    assert len(epochs) == refit.training_data["best_epoch"]
    assert epochs[0]["events"] == 240


def test_killed_run_ends_with_the_same_result_when_resumed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    source = tmp_path / "events.txt"
    source.write_text("".join(f"u{u} " + " ".join(map(str, rng.zipf(1.4, 20) % 50)) + "\n" for u in range(100)))
    options = "--dim 8 --layers 1 --epochs 90 --evaluate-every 4 --patience 30 --window 20 --batch 24 --device cpu"

    def start(out: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "model.training", "train", str(source), "--out", str(tmp_path / out)]
        return subprocess.Popen([*command, "--refit", *options.split()], cwd=ROOT, stdout=subprocess.DEVNULL)

    whole = start("whole")
    assert whole.wait(120) == 0
    epochs = tmp_path / "killed" / "metrics.jsonl"
    moments = random.Random(5)
    done = [0]
    for _ in range(2):
        process = start("killed")
        known = epochs.stat().st_size if epochs.exists() else 0
        while not epochs.exists() or epochs.stat().st_size <= known:
            time.sleep(0.005)
            assert process.poll() is None
        time.sleep(moments.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        done.append(len(read_epochs(epochs.parent)))
    assert done[-1] < 90, "killed too late to test anything"
    rest = start("killed")
    assert rest.wait(120) == 0
    one, other = (load_bundle(tmp_path / run / "bundle") for run in ("whole", "killed"))
    assert one.metrics == other.metrics
    assert one.training_data == other.training_data
    assert all(np.array_equal(one.weights[name], value) for name, value in other.weights.items())
    first, second = (read_epochs(tmp_path / run) for run in ("whole", "killed"))
    assert [line["loss"] for line in first] == [line["loss"] for line in second]


def test_items_give_the_bundle_an_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events, items = tmp_path / "events.txt", tmp_path / "items.csv"
    events.write_text("".join(f"u{u} " + " ".join(f"i{(u + n) % 30}" for n in range(12)) + "\n" for u in range(60)))
    rows = [f"i{n},Thing {n % 5},kind {n % 3}|all,{n % 4}.5" for n in range(40)]
    items.write_text("\n".join(["item_id,title,categories,price", *rows]))
    bundles = []
    for name, more in (
        ("plain", []),
        ("items", ["--items", str(items)]),
        ("refit", ["--items", str(items), "--refit"]),
    ):
        out = ["--out", str(tmp_path / name), "--bundles", str(tmp_path / "bundles"), "--force"]
        assert main(["train", str(events), *out, *SHORT_TRAINING, *more]) == 0
        result = json.loads(capsys.readouterr().out)
        bundles.append(load_bundle(tmp_path / "bundles" / result["version"]))
    plain, with_items, refitted = bundles
    assert plain.content is None
    for bundle in (with_items, refitted):
        assert bundle.content is not None
        vector = bundle.content.encode(ItemContent("Thing 2", ("kind 1", "all"), {"price": 2.5}))
        assert vector is not None
        assert vector.shape == (8,)
        assert bundle.training_data["content"]["items"] == 30
    # Trained items are those of a training without content.
    for name, weights in plain.weights.items():
        np.testing.assert_array_equal(weights, with_items.weights[name])
    assert with_items.training_data["content"]["calibration"] == refitted.training_data["content"]["calibration"]
    # Another table of items is another run.
    items.write_text("\n".join(["item_id,title", *(f"i{n},Thing {n % 4}" for n in range(40))]))
    command = ["train", str(events), "--out", str(tmp_path / "items"), "--items", str(items), *SHORT_TRAINING]
    assert main(command) == 2
    assert "give --out another folder" in capsys.readouterr().err
