"""Train on files of events.

The folder of the run gets metrics, a report and a bundle.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ingest.read_options import ReadOptions
from model.content.item_content import ItemContent
from model.training.data.input_files import InputReport
from model.training.data.interactions import Interactions, read_interactions
from model.training.pipelines.candidate import (
    ModelSettings,
    bundle_folder,
    choose_model,
    train_candidate,
    train_content,
    write_run_bundle,
)
from model.training.pipelines.publication_check import reason_to_decline
from model.training.pipelines.refit import refit
from model.training.publishing.registry import newest_bundle, publish
from model.training.reports.run_report import write_report
from model.training.trainer.checkpoint import load_result, save_result
from model.training.trainer.distributed import is_first_process, join_processes
from model.training.trainer.progress import read_epochs
from model.training.trainer.training_run import TrainingRun


@dataclass(frozen=True, slots=True)
class TrainJob:
    """Inputs of `train`.

    Attributes:
        data: files of events, and exports of the log; several are ordered by time as one.
        reading: how to read the files where their content does not say.
        out: folder of the run; an interrupted run in it is resumed.
        registry: model registry to publish the bundle to, None for none.
        force: publish also if the live model predicts better.
        refit: put a network into the bundle that was trained on all events.
        contents: content by item id, for an encoder of new items; None for none.
        model: size and hyperparameters of the model.
        device: device to train on.
    """

    data: Sequence[Path]
    reading: ReadOptions
    out: Path
    registry: Path | None
    force: bool
    refit: bool
    model: ModelSettings
    device: torch.device
    contents: Mapping[str, ItemContent] | None = None


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """Result of `train`, ready for JSON.

    `was_finished` is True if an earlier call had finished the run.
    """

    result: dict[str, Any]
    was_finished: bool


def train(job: TrainJob) -> TrainOutcome | None:
    """Train, write the report and the bundle, and publish the bundle.

    It is published only if there is a registry, and no better live model in it. Each user's last event is the test,
    and the one before it validates. A finished run is not trained again.

    Returns:
        The outcome; None in all but the first of several processes.

    Raises:
        DataError: the data, the settings or the folders cannot be used.
        BundleError: a bundle in the registry is damaged.
    """
    if job.registry:
        newest_bundle(job.registry)  # an unusable registry fails now and not after hours
    report = InputReport()
    data = read_interactions(job.data, job.reading, report=report)
    if is_first_process():
        sys.stderr.writelines(f"{line}\n" for line in report.lines())
    config, hyperparameters = choose_model(job.model, data, job.device)
    job.out.mkdir(parents=True, exist_ok=True)
    with join_processes(job.device) as (processes, device):
        run = TrainingRun(data, config, hyperparameters, job.out, device, processes)
        identity = run.identity() | {"refit": job.refit} | _identity_of(job.contents)
        finished = load_result(job.out, identity)
        result = _train(job, run) if finished is None else finished
    if not processes.is_first:
        return None
    save_result(job.out, identity, result)
    if job.registry:
        result |= _publish(job.registry, run, result, force=job.force)
    return TrainOutcome(result, was_finished=finished is not None)


def _publish(registry: Path, run: TrainingRun, result: dict[str, Any], *, force: bool) -> dict[str, Any]:
    """Publish the bundle unless the live model is better.

    Returns entries of the result.
    """
    is_new = not (registry / result["version"]).exists()
    if is_new and not force and (reason := reason_to_decline(registry, run.data, result, run.device)):
        return {"published": False, "reason": reason}
    version = publish(registry, bundle_folder(run)).version
    return {"published": True, "bundle": str(registry / version)}


def _train(job: TrainJob, run: TrainingRun) -> dict[str, Any]:
    """Train, write the report and the bundle, and return the result.

    Only the first process writes; the others return nothing.
    """
    candidate = train_candidate(run)
    run = replace(run, hyperparameters=candidate.run.hyperparameters)
    network = candidate.network
    content = train_content(run, network, job.contents) if run.processes.is_first else None
    if job.refit:
        network = refit(replace(run, folder=run.folder / "refit"), candidate.best_epoch)
    if not run.processes.is_first:
        return {}
    if job.refit:
        content = train_content(run, network, job.contents, content)
    tables = {
        "Hyperparameters": run.hyperparameters.to_dict(),
        "Model": run.config.to_dict(),
        "Data": run.data.summary(),
    }
    epochs = read_epochs(candidate.run.folder)
    report = write_report(run.folder, candidate.network, run.data, epochs, candidate.metrics, tables)
    origin = {
        "source": ", ".join(path.name for path in job.data),
        "best_epoch": candidate.best_epoch,
        "refit": job.refit,
    }
    origin |= {"last_timestamp": _newest_time(job.data, run.data)}
    bundle = write_run_bundle(run, network, candidate.metrics, origin, content)
    result = {"bundle": str(bundle_folder(run)), "version": bundle.version, "report": str(report)}
    return result | candidate.metrics


def _identity_of(contents: Mapping[str, ItemContent] | None) -> dict[str, str]:
    """Return an entry that tells runs with other content apart."""
    if contents is None:
        return {}
    hashed = hashlib.sha256()
    for item_id, content in sorted(contents.items()):
        vector = None if content.vector is None else content.vector.tobytes()
        values = item_id, content.title, content.categories, sorted(content.attributes.items()), vector
        hashed.update(repr(values).encode("utf-8", "surrogatepass"))
    return {"content": hashed.hexdigest()[:16]}


def _newest_time(paths: Sequence[Path], data: Interactions) -> float:
    """Return a time after which nothing was trained on.

    Events without times, or with one in the future, can be as late as their file.
    """
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    written = min(time.time(), max(file.stat().st_mtime for file in files))
    return written if data.newest_time is None else min(data.newest_time, written)
