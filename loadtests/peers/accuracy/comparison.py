"""Results of all rankers on one data set, and their table.

There is one JSON for each model and seed. A result that exists is not computed again, so an interrupted comparison is
resumed. Each JSON has the users' ranks, so that differences between models are paired.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtests.environment.machine_info import machine_info
from loadtests.peers.accuracy.rankers import RANKERS, UNSEEDED, RankingJob, UserRanks
from model.ranking_metrics import discounted_gains, hit_rate, ndcg
from model.training.data.interactions import Interactions

OURS = "recblr"
_RESAMPLES = 2_000
_LAST_RANK = 20  # later ranks are stored as 0: they count for no metric here


def run_all(models: Sequence[str], seeds: Sequence[int], job: RankingJob) -> list[dict[str, Any]]:
    """Compute missing results, and return those of all models and seeds.

    `job.folder` gets a JSON for each; its seed is ignored.
    """
    results = []
    for model in models:
        for seed in seeds[:1] if model in UNSEEDED else seeds:
            file = job.folder / f"{model}-{seed}.json"
            identity = {"model": model, "seed": seed, "data": identity_of(job.data), "options": _options(model, job)}
            result = _read(file, identity)
            if result is None:
                own = replace(job, seed=seed, folder=job.folder / "runs" / f"{model}-{seed}")
                own.folder.mkdir(parents=True, exist_ok=True)
                result = identity | _entries(RANKERS[model](own))
                text = json.dumps(result)
                file.with_suffix(".tmp").write_text(text)
                file.with_suffix(".tmp").rename(file)
            results.append(result)
    return results


def identity_of(data: Interactions) -> dict[str, Any]:
    """Return figures that tell data sets apart."""
    return data.summary() | {"crc32": zlib.crc32(data.offsets.data, zlib.crc32(data.rows.data))}


def summarise(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each model, with means over its seeds.

    `ahead` is the difference of our NDCG@10 and the model's, with the bounds of 95 % of bootstrap samples of the
    users, once with seen items kept and once masked.
    """
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        by_model.setdefault(result["model"], []).append(result)
    rows = []
    for model, own in by_model.items():
        row: dict[str, Any] = {"model": model, "seeds": len(own)}
        for name in own[0]["metrics"]:
            row[name] = round(float(np.mean([result["metrics"][name] for result in own])), 4)
        row["commits"] = sorted({result["conditions"]["commit"] for result in own})
        row["training_s"] = round(float(np.mean([result["training_s"] for result in own])), 1)
        if model != OURS and OURS in by_model:
            row["ahead"] = {seen: _ahead(by_model[OURS], own, seen) for seen in ("kept", "masked")}
        rows.append(row)
    return sorted(rows, key=lambda row: -float(row["ndcg@10"]))


def _options(model: str, job: RankingJob) -> dict[str, Any]:
    """Return the options that decide a model's result."""
    if model == OURS:
        return dict(job.given)
    return {} if model in UNSEEDED else {"max_epochs": job.max_epochs}


def _read(file: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a result of this identity, or None."""
    try:
        result: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    return result if {name: result.get(name) for name in identity} == identity else None


def _entries(ranks: UserRanks) -> dict[str, Any]:
    metrics = {}
    for prefix, own in (("", ranks.kept), ("masked_", ranks.masked)):
        metrics[f"{prefix}ndcg@10"], metrics[f"{prefix}hr@10"] = ndcg(own, 10), hit_rate(own, 10)
    return {
        "metrics": metrics,
        "training_s": round(ranks.training_seconds, 1),
        "best_epoch": ranks.best_epoch,
        "ranks": {"kept": _stored(ranks.kept), "masked": _stored(ranks.masked)},
        "conditions": machine_info(),
    }


def _stored(ranks: NDArray[np.int64]) -> list[int]:
    return np.where(ranks <= _LAST_RANK, ranks, 0).tolist()  # type: ignore[no-any-return]


def _ahead(ours: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], seen: str) -> list[float]:
    """Return the mean difference of NDCG@10, and its bounds."""
    difference = _gains(ours, seen) - _gains(other, seen)
    rng = np.random.default_rng(0)
    samples = [difference[rng.integers(0, len(difference), len(difference))].mean() for _ in range(_RESAMPLES)]
    return [round(float(value), 4) for value in (difference.mean(), *np.percentile(samples, [2.5, 97.5]))]


def _gains(results: Sequence[Mapping[str, Any]], seen: str) -> NDArray[np.float64]:
    """Return each user's gain, the mean over the seeds."""
    gains: NDArray[np.float64] = np.mean(
        [discounted_gains(np.array(result["ranks"][seen]), 10) for result in results], axis=0
    )
    return gains
