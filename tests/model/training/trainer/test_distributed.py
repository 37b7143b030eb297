"""Data-parallel training in two processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from model.bundle.bundle import load_bundle

ROOT = Path(__file__).parents[4]
OPTIONS = (
    "--dim 8 --layers 1 --window 12 --batch 6 --epochs 4 --evaluate-every 2 --learning-rate 0.01 --warmup-steps 3 "
    "--dropout 0 --embedding-dropout 0 --device cpu"
)


def train(data: Path, out: Path, launcher: list[str]) -> dict[str, float]:
    command = [sys.executable, "-m", *launcher, "model.training", "train", str(data), "--out", str(out)]
    done = subprocess.run(
        [*command, *OPTIONS.split()], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_two_processes_train_the_same_model_as_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = tmp_path / "events.txt"
    lengths = rng.integers(3, 30, 25)
    data.write_text(
        "".join(f"u{u} " + " ".join(map(str, rng.integers(1, 20, n))) + "\n" for u, n in enumerate(lengths))
    )
    single = train(data, tmp_path / "single", [])
    double = train(data, tmp_path / "double", ["torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m"])
    assert double["validation_ndcg@10"] == single["validation_ndcg@10"]
    one, two = (load_bundle(tmp_path / run / "bundle").weights for run in ("single", "double"))
    for name, weights in one.items():
        np.testing.assert_allclose(two[name], weights, rtol=1e-3, atol=1e-5, err_msg=name)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("single", "double")
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
