"""Two processes under `torchrun` train what one trains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from model.bundle.bundle import load_bundle

ROOT = Path(__file__).parents[4]
HYPERPARAMETERS = (
    "--dim 8 --layers 1 --window 12 --batch 6 --epochs 4 --evaluate-every 2 --learning-rate 0.01 --warmup-steps 3 "
    "--dropout 0 --embedding-dropout 0 --device cpu"
)


def train(data: Path, out: Path, launcher: list[str]) -> dict[str, float]:
    command = [sys.executable, "-m", *launcher, "model.training", "train", str(data), "--out", str(out)]
    done = subprocess.run(
        [*command, *HYPERPARAMETERS.split()], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_two_processes_train_the_model_that_one_trains(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = tmp_path / "events.txt"
    lengths = rng.integers(3, 30, 25)
    data.write_text(
        "".join(f"u{u} " + " ".join(map(str, rng.integers(1, 20, n))) + "\n" for u, n in enumerate(lengths))
    )
    alone = train(data, tmp_path / "alone", [])
    crew = train(data, tmp_path / "crew", ["torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m"])
    assert crew["validation_ndcg@10"] == alone["validation_ndcg@10"]
    one, two = (load_bundle(tmp_path / run / "bundle").weights for run in ("alone", "crew"))
    for name, weights in one.items():
        np.testing.assert_allclose(two[name], weights, rtol=1e-3, atol=1e-5, err_msg=name)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("alone", "crew")
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
