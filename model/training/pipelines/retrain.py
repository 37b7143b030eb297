"""Nightly retraining: train on the service's log, compare, publish.

    events in time    |------------- trained on -------------|--- held out ---|
                                                             cut          newest event
    compared on                                              |----------------|   newer than what either model saw
    published refit   |----------------------- trained on --------------------|

A bundle's manifest records the newest event that it was trained on (`last_timestamp`). The cut is never before that
of the live model, so both models predict from the same history, and no event decides that the live model may know. A
live bundle without `last_timestamp` may know all events until it was created. Wrong clocks and imported history do
not move the cut: see `time_split`. The comparison measures the hyperparameters on today's data; the published model
is a refit with the same hyperparameters.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ingest.errors import DataError
from model.bundle.bundle import read_manifest
from model.bundle.signature import signing_key
from model.network import RecBLR
from model.training.content.encoder_fit import TrainedContent
from model.training.content.stored_contents import read_stored_contents
from model.training.data.export import export_log
from model.training.data.time_split import Timeline, TimeSplit, read_timeline, split_by_time
from model.training.evaluation.bundle_loader import load_network
from model.training.evaluation.model_comparison import ComparedModel, ModelComparison, compare
from model.training.pipelines.candidate import (
    ModelSettings,
    bundle_folder,
    choose_model,
    train_candidate,
    train_content,
    write_run_bundle,
)
from model.training.pipelines.refit import refit
from model.training.publishing.registry import newest_bundle, prune, publish, trained_until, was_withdrawn
from model.training.reports.run_report import write_report
from model.training.trainer.progress import read_epochs
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
    ab_test: str | None = None  # content of the mark of a version that is A/B tested first


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
    result: dict[str, Any] = {"published": False, "live_version": _version_of(live), "log": asdict(exported)}
    if live is not None and split.held_out_events < job.min_compared:
        return result | {"reason": _too_few_events(split, job), "compared_events": split.held_out_events}
    run = _prepare_run(job, split)
    training = train_candidate(run)
    run = replace(run, hyperparameters=training.run.hyperparameters)
    comparison = _compare(run, training, live, timeline, split)
    content = _fit_content(run, training.network, job.state_url)
    candidate = _Candidate(run, training, comparison, split, content)
    candidate.write()
    _prune_runs(run.folder, job.keep)
    result |= candidate.figures() | {"reason": comparison.explain(job.margin)}
    if not comparison.accepts(job.margin):
        return result
    accepted = candidate.refit_on_all_events(timeline) if job.refit else bundle_folder(run)
    if was_withdrawn(job.registry, version := read_manifest(accepted).version):
        return result | {"reason": f"declined: {version} has the weights of a version that was withdrawn"}
    bundle = publish(job.registry, accepted, None if live is None else job.ab_test)
    removed = prune(job.registry, job.keep, protected=(bundle.version, result["live_version"]))
    published = {"version": bundle.version, "bundle": str(job.registry / bundle.version), "removed": removed}
    return result | {"published": True, "refit": job.refit} | published


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A trained model that has been compared with the live one."""

    run: TrainingRun
    training: TrainingResult
    comparison: ModelComparison
    split: TimeSplit
    content: TrainedContent | None

    def figures(self) -> dict[str, Any]:
        """Return the figures for the result of the job."""
        return {
            "compared_events": self.comparison.events,
            "new": self.comparison.candidate,
            "live": self.comparison.live,
            "run": str(self.run.folder),
        }

    def write(self) -> None:
        """Write the report and the bundle into the folder of the run."""
        figures: dict[str, float] = {"events": self.comparison.events}
        figures |= {f"new {name}": value for name, value in self.comparison.candidate.items()}
        figures |= {f"live {name}": value for name, value in (self.comparison.live or {}).items()}
        tables = {
            "Hyperparameters": self.run.hyperparameters.to_dict(),
            "Data": self.run.data.summary(),
            "Newest events": figures,
        }
        epochs = read_epochs(self.training.run.folder)
        write_report(self.run.folder, self.training.network, self.run.data, epochs, self._metrics(), tables)
        origin = self._origin() | {"last_timestamp": _known_time(self.split.trained_until), "refit": False}
        write_run_bundle(self.run, self.training.network, self._metrics(), origin, self.content)

    def refit_on_all_events(self, timeline: Timeline) -> Path:
        """Train on all events and return the folder of the bundle.

        The bundle has the candidate's metrics.
        """
        data = timeline.before(math.inf)
        config = replace(self.run.config, items=len(data.item_ids))
        run = replace(self.run, data=data, config=config, folder=self.run.folder / "refit")
        network = refit(run, self.training.best_epoch)
        newest = _known_time(timeline.newest_time_before(math.inf))
        evaluated = {"events": len(self.run.data.rows), "last_timestamp": _known_time(self.split.trained_until)}
        origin = self._origin() | {"last_timestamp": newest, "refit": True, "evaluated": evaluated}
        contents = None if self.content is None else self.content.contents
        content = train_content(run, network, contents, self.content)
        write_run_bundle(run, network, self._metrics(), origin, content)
        return bundle_folder(run)

    def _metrics(self) -> dict[str, float]:
        new = self.comparison.candidate
        return self.training.metrics | {f"time_split_{name}": value for name, value in new.items()}

    def _origin(self) -> dict[str, Any]:
        return {"source": "event log", "best_epoch": self.training.best_epoch}


def _fit_content(run: TrainingRun, network: RecBLR, state_url: str) -> TrainedContent | None:
    """Fit an encoder to the catalogue, None if that is impossible.

    That is no reason to keep an old model. A user of Redis may have no right to read the catalogue.
    """
    try:
        return train_content(run, network, read_stored_contents(state_url) or None)
    except DataError as error:
        sys.stderr.write(f"the model is trained without content: {error}\n")
        return None


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
    run: TrainingRun, training: TrainingResult, live: Path | None, timeline: Timeline, split: TimeSplit
) -> ModelComparison:
    new_model = ComparedModel.of_training(training.network, run.data)
    live_model = None if live is None else ComparedModel.of_bundle(*load_network(live, run.device))
    return compare(new_model, live_model, timeline, split.held_out)


def _version_of(live: Path | None) -> str | None:
    return None if live is None else read_manifest(live, signing_key()).version


def _known_time(newest: float) -> float:
    """Return the newest known time, or now for -inf."""
    return newest if math.isfinite(newest) else time.time()


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
