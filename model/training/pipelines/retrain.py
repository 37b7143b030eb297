"""The nightly job: export, train up to a moment, ask both models what came after it, refit and publish, or decline.

    events in time   |------------- trained on -------------|--- held out ---|
                                                            cut          newest event
    asked of both models                                    |----------------|   later than what either has seen
    published        |----------------------- trained on --------------------|

Each bundle says up to when it has seen events (`training_data.last_timestamp`), and the cut is never before that of
the live one: both models answer from the same past. What is compared is therefore the recipe on today's data; what is
published is that recipe fitted once more, on everything (unless `refit` is off). A live bundle that does not say may
have been trained on the events asked, which speaks for it.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle.bundle import read_manifest
from model.config import ModelConfig
from model.training.data.export import export_log
from model.training.data.interactions import Interactions
from model.training.data.time_split import Timeline, read_timeline
from model.training.errors import DataError
from model.training.evaluation.model_comparison import ModelComparison, compare, seen_until
from model.training.pipelines.distillation import learn_from_teachers
from model.training.pipelines.refit import refit
from model.training.publishing.bundle_writer import publish
from model.training.publishing.registry import newest_bundle, prune, release
from model.training.reports.run_report import write_report
from model.training.trainer.hyperparameters import Hyperparameters, hyperparameters_for, teachers_for
from model.training.trainer.progress import open_epoch_log
from model.training.trainer.trainer import Trained, Trainer


@dataclass(frozen=True, slots=True)
class Job:
    """What `retrain --help` explains."""

    state_url: str
    bundles: Path
    work: Path
    margin: float
    refit: bool
    keep: int
    holdout: float
    holdout_hours: float | None
    min_events: int
    min_compared: int
    max_compared: int
    dim: int
    layers: int
    given: dict[str, Any]  # numbers of the recipe that the data do not choose
    device: torch.device


@dataclass(frozen=True, slots=True)
class _Run:
    """A candidate and where it came from."""

    folder: Path
    hyperparameters: Hyperparameters
    data: Interactions
    trained: Trained
    comparison: ModelComparison
    last: float  # time of the newest event trained on


def retrain(job: Job) -> dict[str, Any]:
    """Do the job. The result says whether it `published`, the `reason` in a sentence, and the figures.

    When it declines or fails (`DataError`, `BundleError`) the folder of bundles is as it was.
    """
    live = newest_bundle(job.bundles)
    result: dict[str, Any] = {
        "published": False,
        "live_version": None if live is None else read_manifest(live).version,
        "log": asdict(export_log(job.state_url, job.work / "export")),
    }
    timeline = read_timeline(job.work / "export")
    seen = seen_until(live)
    cut = max(timeline.cut(job.holdout, job.holdout_hours), float(np.nextafter(seen, math.inf)))
    data = _training_data(timeline, cut, job.min_events)
    last = timeline.last_time_before(cut)
    asked = timeline.asked_after(max(last, seen), job.max_compared)
    if live is not None and (few := int(asked.sum())) < job.min_compared:
        return result | {"reason": _too_few(few, job.min_compared), "compared_events": few}
    run = _train(job, timeline, data, cut, live, asked)
    result |= {"compared_events": run.comparison.compared, "new": run.comparison.new, "live": run.comparison.live}
    result["run"] = str(run.folder)
    _prune_runs(run.folder, job.keep)
    if declined := run.comparison.against(job.margin):
        return result | {"reason": declined}
    bundle = release(job.bundles, _final(job, run, timeline) if job.refit else run.folder / "bundle")
    return result | {
        "published": True,
        "reason": run.comparison.in_favour(job.margin),
        "refit": job.refit,
        "version": bundle.version,
        "bundle": str(job.bundles / bundle.version),
        "removed": prune(job.bundles, job.keep, (bundle.version, result["live_version"])),
    }


def _training_data(timeline: Timeline, cut: float, at_least: int) -> Interactions:
    data = timeline.before(cut)
    # Each history's last two events are for testing and validation, and a target needs an event before it.
    if len(data.rows) < at_least or not (data.lengths >= 4).any():
        raise DataError(
            f"the log has {len(timeline.items)} events, {len(data.rows)} of them before the newest, held-out ones; "
            f"training needs {at_least} of these (--min-events) and a history of 4: collect more, or hold out less"
        )
    return data


def _run_folder(
    job: Job, config: ModelConfig, hyperparameters: Hyperparameters, data: Interactions, cut: float
) -> Path:
    """The folder of this run; the same data and settings find it again, so that a killed job goes on."""
    settings = [config.to_dict(), hyperparameters.to_dict(), cut, list(data.item_ids)]
    identity = hashlib.sha256(json.dumps(settings).encode())
    identity.update(data.rows.data)
    identity.update(data.offsets.data)
    name = identity.hexdigest()[:12]
    folder = job.work / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _train(
    job: Job, timeline: Timeline, data: Interactions, cut: float, live: Path | None, asked: NDArray[np.bool_]
) -> _Run:
    """Train a candidate, compare it, and leave its report and bundle in the folder of the run."""
    config = ModelConfig(items=len(data.item_ids), dim=job.dim, layers=job.layers)
    items, events = len(data.item_ids), len(data.rows)
    teachers = teachers_for(items, events, job.device.type == "cuda")
    hyperparameters = hyperparameters_for(len(data.user_ids), items, events, {"teachers": teachers} | job.given)
    folder = _run_folder(job, config, hyperparameters, data, cut)
    soft_targets = learn_from_teachers(data, config, hyperparameters, folder, job.device)
    title = f"training on {job.device}: {len(data.rows):,} events, at most {hyperparameters.epochs} epochs"
    with open_epoch_log(folder, hyperparameters.epochs, title) as log:
        trained = Trainer(data, config, hyperparameters, folder, job.device, soft_targets=soft_targets).run(log)
    comparison = compare(trained.network, data, live, timeline, asked, job.device)
    run = _Run(folder, hyperparameters, data, trained, comparison, timeline.last_time_before(cut))
    figures = {"events": comparison.compared} | {f"new {name}": value for name, value in comparison.new.items()}
    figures |= {f"live {name}": value for name, value in (comparison.live or {}).items()}
    facts = {"Recipe": hyperparameters.to_dict(), "Data": data.summary(), "Newest events": figures}
    write_report(folder, trained.network, data, _metrics(run), facts)
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    extra = _origin(run) | {"last_timestamp": run.last, "refit": False}
    publish(folder / "bundle", trained.network, data, _metrics(run), extra)
    return run


def _final(job: Job, run: _Run, timeline: Timeline) -> Path:
    """The bundle of the candidate's recipe fitted on all events; its metrics are the candidate's."""
    data = timeline.before(math.inf)
    config = ModelConfig(items=len(data.item_ids), dim=job.dim, layers=job.layers)
    folder = run.folder / "refit"
    network = refit(data, config, run.hyperparameters, run.trained.best_epoch, folder, job.device)
    evaluated = {"events": len(run.data.rows), "last_timestamp": run.last}
    # An event from the future is learnt, but it must not make all that will come before it look seen.
    last = min(timeline.last_time_before(math.inf), time.time())
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    extra = _origin(run) | {"last_timestamp": last, "refit": True, "evaluated": evaluated}
    publish(folder / "bundle", network, data, _metrics(run), extra)
    return folder / "bundle"


def _metrics(run: _Run) -> dict[str, float]:
    return run.trained.metrics | {f"time_split_{name}": value for name, value in run.comparison.new.items()}


def _origin(run: _Run) -> dict[str, Any]:
    return {"source": "event log", "recipe": run.hyperparameters.to_dict(), "best_epoch": run.trained.best_epoch}


def _too_few(asked: int, needed: int) -> str:
    return (
        f"declined before training: {asked} events are later than what both models have seen and {needed} are "
        "needed to decide (--min-compared); run again when more have arrived, or hold out more"
    )


def _prune_runs(current: Path, keep: int) -> None:
    runs = [path for path in current.parent.iterdir() if path.is_dir() and path != current]
    runs.sort(key=lambda path: path.stat().st_mtime)
    for path in runs[: max(0, len(runs) - keep + 1)]:
        shutil.rmtree(path)
