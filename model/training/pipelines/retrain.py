"""Nightly retraining: train on the service's log, compare, publish.

    events in time    |------------- trained on -------------|--- held out ---|
                                                             cut          newest event
    compared on                                              |----------------|   newer than what either model saw
    published refit   |----------------------- trained on --------------------|

A bundle's manifest records the newest event that it was trained on (`last_timestamp`). The cut is never before that
of the live model, so both models predict from the same history. The comparison measures the hyperparameters on
today's data; the published model is a refit with the same hyperparameters. A live bundle without `last_timestamp` may
have been trained on the events compared on, which favours it.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from model.bundle.bundle import read_manifest
from model.training.data.export import export_log
from model.training.data.time_split import Timeline, TimeSplit, read_timeline, split_by_time
from model.training.evaluation.bundle_loader import load_network
from model.training.evaluation.model_comparison import ComparedModel, ModelComparison, compare
from model.training.pipelines.candidate import (
    ModelSettings,
    bundle_folder,
    choose_model,
    train_candidate,
    write_run_bundle,
)
from model.training.pipelines.refit import refit
from model.training.publishing.registry import newest_bundle, prune, publish, trained_until
from model.training.reports.run_report import write_report
from model.training.trainer.trainer import TrainingResult
from model.training.trainer.training_run import TrainingRun


@dataclass(frozen=True, slots=True)
class RetrainJob:
    """Inputs of `retrain`, as `recblr-train retrain --help` explains them."""

    state_url: str
    registry: Path
    work: Path
    margin: float
    refit: bool
    keep: int
    holdout: float
    holdout_hours: float | None
    min_events: int
    min_compared: int
    max_compared: int
    model: ModelSettings
    device: torch.device


def retrain(job: RetrainJob) -> dict[str, Any]:
    """Train a candidate and publish it unless the live model is better.

    Returns:
        The result, ready for JSON: `published`, the `reason` in one sentence, and the figures. If the job declines
        or fails, the registry is unchanged.

    Raises:
        DataError: the log, the settings or the folders cannot be used.
        BundleError: the live bundle is damaged.
    """
    live = newest_bundle(job.registry)
    exported = export_log(job.state_url, job.work / "export")
    timeline = read_timeline(job.work / "export")
    split = _split(job, timeline, live)
    live_version = None if live is None else read_manifest(live).version
    result: dict[str, Any] = {"published": False, "live_version": live_version, "log": asdict(exported)}
    if live is not None and split.held_out_events < job.min_compared:
        return result | {"reason": _too_few_events(split, job), "compared_events": split.held_out_events}
    run = _prepare_run(job, split)
    candidate = train_candidate(run)
    comparison = _compare(run, candidate, live, timeline, split)
    metrics = candidate.metrics | {f"time_split_{name}": value for name, value in comparison.candidate.items()}
    _write_candidate(run, candidate, comparison, metrics, split)
    _prune_runs(run.folder, job.keep)
    result |= {"compared_events": comparison.events, "new": comparison.candidate, "live": comparison.live}
    result |= {"run": str(run.folder), "reason": comparison.explain(job.margin)}
    if not comparison.accepts(job.margin):
        return result
    publishable = _refit(run, candidate, metrics, timeline, split) if job.refit else bundle_folder(run)
    bundle = publish(job.registry, publishable)
    removed = prune(job.registry, job.keep, (bundle.version, live_version))
    published = {"version": bundle.version, "bundle": str(job.registry / bundle.version), "removed": removed}
    return result | {"published": True, "refit": job.refit} | published


def _split(job: RetrainJob, timeline: Timeline, live: Path | None) -> TimeSplit:
    return split_by_time(
        timeline,
        job.holdout,
        job.holdout_hours,
        live_trained_until=-math.inf if live is None else trained_until(live),
        max_held_out=job.max_compared,
        min_train=job.min_events,
    )


def _prepare_run(job: RetrainJob, split: TimeSplit) -> TrainingRun:
    """Create the run of the candidate.

    Equal data and settings give the same folder, so that a killed job resumes.
    """
    config, hyperparameters = choose_model(job.model, split.train, job.device)
    settings = [config.to_dict(), hyperparameters.to_dict(), split.cut, list(split.train.item_ids)]
    digest = hashlib.sha256(json.dumps(settings).encode())
    digest.update(split.train.rows.data)
    digest.update(split.train.offsets.data)
    folder = job.work / "runs" / digest.hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    return TrainingRun(split.train, config, hyperparameters, folder, job.device)


def _compare(
    run: TrainingRun, candidate: TrainingResult, live: Path | None, timeline: Timeline, split: TimeSplit
) -> ModelComparison:
    new_model = ComparedModel.of_training(candidate.network, run.data)
    live_model = None if live is None else ComparedModel.of_bundle(*load_network(live, run.device))
    return compare(new_model, live_model, timeline, split.held_out)


def _write_candidate(
    run: TrainingRun,
    candidate: TrainingResult,
    comparison: ModelComparison,
    metrics: dict[str, float],
    split: TimeSplit,
) -> None:
    """Write the candidate's report and bundle into the folder of the run."""
    figures: dict[str, float] = {"events": comparison.events}
    figures |= {f"new {name}": value for name, value in comparison.candidate.items()}
    figures |= {f"live {name}": value for name, value in (comparison.live or {}).items()}
    tables = {
        "Hyperparameters": run.hyperparameters.to_dict(),
        "Data": run.data.summary(),
        "Newest events": figures,
    }
    write_report(run.folder, candidate.network, run.data, metrics, tables)
    origin = _origin(candidate) | {"last_timestamp": split.trained_until, "refit": False}
    write_run_bundle(run, candidate.network, metrics, origin)


def _refit(
    run: TrainingRun, candidate: TrainingResult, metrics: dict[str, float], timeline: Timeline, split: TimeSplit
) -> Path:
    """Train on all events and return the folder of the bundle.

    The bundle has the candidate's metrics.
    """
    data = timeline.before(math.inf)
    config = replace(run.config, items=len(data.item_ids))
    refit_run = replace(run, data=data, config=config, folder=run.folder / "refit")
    network = refit(refit_run, candidate.best_epoch)
    # A timestamp in the future must not make all events until then look as if they had been trained on.
    newest = min(timeline.newest_time_before(math.inf), time.time())
    evaluated = {"events": len(run.data.rows), "last_timestamp": split.trained_until}
    origin = _origin(candidate) | {"last_timestamp": newest, "refit": True, "evaluated": evaluated}
    write_run_bundle(refit_run, network, metrics, origin)
    return bundle_folder(refit_run)


def _origin(candidate: TrainingResult) -> dict[str, Any]:
    return {"source": "event log", "best_epoch": candidate.best_epoch}


def _too_few_events(split: TimeSplit, job: RetrainJob) -> str:
    return (
        f"declined before training: {split.held_out_events} events are newer than what both models were trained on, "
        f"and {job.min_compared} are needed to compare them (--min-compared); run again when more have arrived, or "
        "hold out more"
    )


def _prune_runs(current: Path, keep: int) -> None:
    """Remove the oldest runs, so that `keep` remain.

    The current run is one of them.
    """
    runs = [path for path in current.parent.iterdir() if path.is_dir() and path != current]
    runs.sort(key=lambda path: path.stat().st_mtime)
    for path in runs[: max(0, len(runs) - keep + 1)]:
        shutil.rmtree(path)
