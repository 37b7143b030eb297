"""Rankers of each user's last item.

They are our model, plain baselines, and transformers of RecTools.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from loadtests.peers.accuracy.rectools_worker import TRANSFORMERS
from model.training.data.interactions import Interactions
from model.training.evaluation.leave_one_out import LeaveOneOutRanks, leave_one_out
from model.training.evaluation.plain_baselines import rank_by_baselines
from model.training.pipelines.candidate import ModelSettings, choose_model, train_candidate
from model.training.trainer.training_run import TrainingRun

_ROOT = Path(__file__).parents[3]
_WORKER = "loadtests.peers.accuracy.rectools_worker"


@dataclass(frozen=True, slots=True)
class RankingJob:
    """Inputs of a ranker.

    Attributes:
        data: histories; each user's last event is the test, and the one before it validates.
        seed: seed of the training.
        folder: folder for checkpoints and intermediate files.
        device: device to train on.
        given: hyperparameters of our model by name; the data choose the others.
        peers_python: a Python that has RecTools.
        max_epochs: most epochs of a transformer.
    """

    data: Interactions
    seed: int
    folder: Path
    device: torch.device
    given: Mapping[str, Any]
    peers_python: str
    max_epochs: int


@dataclass(frozen=True, slots=True)
class UserRanks:
    """Ranks of each user's last item.

    They are in order of the users with at least two events. A rank of 0 means that the item was not in the answer.

    Attributes:
        kept: (U,) int64, rank among all items.
        masked: (U,) int64, rank without the user's other seen items.
        training_seconds: time of the training.
        best_epoch: epoch that validated best; 0 if there are no epochs.
    """

    kept: NDArray[np.int64]
    masked: NDArray[np.int64]
    training_seconds: float
    best_epoch: int = 0


Ranker = Callable[[RankingJob], UserRanks]


def rank_by_recblr(job: RankingJob) -> UserRanks:
    """Train our model with the hyperparameters that the data choose."""
    started = time.perf_counter()
    config, hyperparameters = choose_model(
        ModelSettings(64, 2, dict(job.given) | {"seed": job.seed}), job.data, job.device
    )
    result = train_candidate(TrainingRun(job.data, config, hyperparameters, job.folder, job.device))
    seconds = time.perf_counter() - started
    return in_order_of_users(leave_one_out(result.network, job.data), job.data, seconds, result.best_epoch)


def rank_by_baseline(name: str, job: RankingJob) -> UserRanks:
    """Rank by a plain baseline, which has no seed."""
    started = time.perf_counter()
    ranks = rank_by_baselines(job.data)[name]
    return UserRanks(ranks.kept, ranks.masked, time.perf_counter() - started)


def rank_by_transformer(name: str, job: RankingJob) -> UserRanks:
    """Train a transformer in the peers' Python.

    Raises:
        subprocess.CalledProcessError: the training failed.
    """
    histories, ranks = job.folder / "histories.npz", job.folder / "ranks.npz"
    np.savez(histories, rows=job.data.rows, offsets=job.data.offsets)
    command = [job.peers_python, "-m", _WORKER, str(histories), str(ranks), "--model", name]
    command += ["--seed", str(job.seed), "--max-epochs", str(job.max_epochs)]
    subprocess.run(command, cwd=_ROOT, env=os.environ | {"PYTHONPATH": str(_ROOT)}, check=True)
    with np.load(ranks) as found:
        return UserRanks(found["kept"], found["masked"], float(found["seconds"]), int(found["best_epoch"]))


def in_order_of_users(
    ranks: LeaveOneOutRanks, data: Interactions, seconds: float = 0.0, best_epoch: int = 0
) -> UserRanks:
    """Reorder ranks of `leave_one_out`, which sorts users by length."""
    lengths = data.lengths[data.lengths >= 2]
    order = np.argsort(lengths, kind="stable")
    kept, masked = np.empty((2, len(lengths)), np.int64)
    kept[order], masked[order] = ranks.kept, ranks.masked
    return UserRanks(kept, masked, seconds, best_epoch)


RANKERS: dict[str, Ranker] = {
    "recblr": rank_by_recblr,
    "popularity": partial(rank_by_baseline, "popularity"),
    "item_knn": partial(rank_by_baseline, "item_knn"),
    **{name: partial(rank_by_transformer, name) for name in TRANSFORMERS},
}
# Rankers whose result has no random numbers.
UNSEEDED = frozenset(["popularity", "item_knn"])
