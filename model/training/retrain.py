"""The nightly job: export, train up to a moment, ask both models what came after it, publish or decline.

    events in time   |------------- trained on -------------|--- held out ---|
                                                            cut          newest event
    asked of both models                                         |-----------|   later than what either has seen

Each bundle says up to when it has seen events (`training_data.last_timestamp`), so the next run knows which events
are new to it. A live bundle that does not say may have been trained on the events asked, which speaks for it.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.artifact import MANIFEST, Bundle, find_bundles, load_bundle, read_manifest, write_bundle
from model.config import ModelConfig
from model.training.data import Interactions
from model.training.errors import DataError
from model.training.export import export_log
from model.training.loop import Trained, Trainer
from model.training.progress import RunLog, opening
from model.training.publish import load_network, publish
from model.training.recipe import Recipe, recipe_for
from model.training.report import write_report
from model.training.temporal import Timeline, judge, read_timeline


@dataclass(frozen=True, slots=True)
class Job:
    """What `retrain --help` explains."""

    state_url: str
    bundles: Path
    work: Path
    margin: float
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
class Verdict:
    """How the models predict the events that neither has seen. `live` is None where there is no live model."""

    compared: int
    new: dict[str, float]
    live: dict[str, float] | None


def retrain(job: Job) -> dict[str, Any]:
    """Do the job. The result says whether it `published`, the `reason` in a sentence, and the figures.

    When it declines or fails (`DataError`, `BundleError`) the folder of bundles is as it was.
    """
    live = newest_bundle(job.bundles)
    exported = export_log(job.state_url, job.work / "export")
    timeline = read_timeline(job.work / "export")
    cut = timeline.cut(job.holdout, job.holdout_hours)
    data = _training_data(timeline, cut, job.min_events)
    config = ModelConfig(items=len(data.item_ids), dim=job.dim, layers=job.layers)
    recipe = recipe_for(len(data.user_ids), len(data.item_ids), len(data.rows), job.given)
    folder = _run_folder(job, config, recipe, data, cut)
    with RunLog(folder, recipe.epochs, opening(data, recipe.epochs, job.device)) as log:
        trained = Trainer(data, config, recipe, folder, job.device).run(log)
    last = timeline.last_time_before(cut)
    verdict = _compare(job, timeline, data, trained, live, last)
    candidate = _write_run(folder, recipe, data, trained, verdict, last)
    reason = _why_not(job, verdict)
    result: dict[str, Any] = {
        "published": reason is None,
        "reason": reason or _why(job, verdict),
        "live_version": None if live is None else read_manifest(live)["version"],
        "log": asdict(exported),
        "compared_events": verdict.compared,
        "new": verdict.new,
        "live": verdict.live,
        "run": str(folder),
    }
    if reason is None:
        bundle = _newer_than(live, load_bundle(candidate))
        write_bundle(job.bundles / bundle.version, bundle)
        removed = _prune_bundles(job.bundles, job.keep, (bundle.version, result["live_version"]))
        result |= {"version": bundle.version, "bundle": str(job.bundles / bundle.version), "removed": removed}
    _prune_runs(folder, job.keep)
    return result


def newest_bundle(bundles: Path) -> Path | None:
    """The folder of the live bundle, or None where there is none yet; raises `BundleError` and `DataError`."""
    if (bundles / MANIFEST).exists():
        raise DataError(f"{bundles} is one bundle; give --bundles the folder of versions, which is RECBLR_BUNDLE")
    if not any(bundles.glob(f"*/{MANIFEST}")):
        return None
    return next(reversed(find_bundles(bundles).values()))


def _training_data(timeline: Timeline, cut: float, at_least: int) -> Interactions:
    data = timeline.before(cut)
    # Each history's last two events are for testing and validation, and a target needs an event before it.
    if len(data.rows) < at_least or not (data.lengths >= 4).any():
        raise DataError(
            f"the log has {len(timeline.items)} events, {len(data.rows)} of them before the newest, held-out ones; "
            f"training needs {at_least} of these (--min-events) and a history of 4: collect more, or hold out less"
        )
    return data


def _run_folder(job: Job, config: ModelConfig, recipe: Recipe, data: Interactions, cut: float) -> Path:
    """The folder of this run; the same data and settings find it again, so that a killed job goes on."""
    settings = [config.to_dict(), recipe.to_dict(), cut, list(data.item_ids)]
    identity = json.dumps(settings).encode() + data.rows.tobytes() + data.offsets.tobytes()
    name = hashlib.sha256(identity).hexdigest()[:12]
    folder = job.work / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _compare(
    job: Job, timeline: Timeline, data: Interactions, trained: Trained, live: Path | None, last: float
) -> Verdict:
    since = last
    if live is not None:
        seen = read_manifest(live)["training_data"].get("last_timestamp")
        since = max(last, float(seen)) if isinstance(seen, int | float) and math.isfinite(seen) else last
    asked = timeline.asked_after(since, job.max_compared)
    compared = int(asked.sum())
    if not compared:
        return Verdict(0, {}, None if live is None else {})
    new = judge(trained.network, data.item_ids, data.popularity(), timeline, asked)
    if live is None:
        return Verdict(compared, new, None)
    network, bundle = load_network(live, job.device)
    popularity = np.array([0, *(item.popularity for item in bundle.items)], np.int64)
    return Verdict(
        compared, new, judge(network, [item.item_id for item in bundle.items], popularity, timeline, asked)
    )


def _write_run(
    folder: Path, recipe: Recipe, data: Interactions, trained: Trained, verdict: Verdict, last: float
) -> Path:
    """The run's report and bundle; the bundle's folder."""
    metrics = trained.metrics | {f"temporal_{name}": value for name, value in verdict.new.items()}
    comparison = {"events": verdict.compared} | {f"new {name}": value for name, value in verdict.new.items()}
    comparison |= {f"live {name}": value for name, value in (verdict.live or {}).items()}
    facts = {"Recipe": recipe.to_dict(), "Data": data.summary(), "Newest events": comparison}
    write_report(folder, trained.network, data, metrics, facts)
    extra = {
        "source": "event log",
        "last_timestamp": last,
        "recipe": recipe.to_dict(),
        "best_epoch": trained.best_epoch,
    }
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    publish(folder / "bundle", trained.network, data, metrics, extra)
    return folder / "bundle"


def _why_not(job: Job, verdict: Verdict) -> str | None:
    """Why the new model is not published, or None if it is."""
    if verdict.live is None:
        return None
    if verdict.compared < job.min_compared:
        return (
            f"declined: {verdict.compared} events are later than what both models have seen and {job.min_compared} "
            "are needed to decide (--min-compared); run again when more have arrived, or hold out more"
        )
    if verdict.new["ndcg@10"] < verdict.live["ndcg@10"] - job.margin:
        return f"declined: {_figures(verdict)}, which is more than the margin of {job.margin:g} lower"
    return None


def _why(job: Job, verdict: Verdict) -> str:
    if verdict.live is None:
        return "published: there was no live model to compare with"
    return f"published: {_figures(verdict)}, which is within the margin of {job.margin:g}"


def _figures(verdict: Verdict) -> str:
    assert verdict.live is not None  # noqa: S101 - both callers have asked
    return (
        f"on the {verdict.compared} newest events the new model's NDCG@10 is {verdict.new['ndcg@10']:.4f} "
        f"and the live one's {verdict.live['ndcg@10']:.4f}"
    )


def _newer_than(live: Path | None, bundle: Bundle) -> Bundle:
    """The bundle with a time of creation after the live one's, which another clock may have set in the future.

    The newest bundle is the one that the service loads.
    """
    before = "" if live is None else read_manifest(live)["created"]
    if bundle.created > before:
        return bundle
    try:
        after = datetime.fromisoformat(before) + timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise DataError(f"{live} was created at {before!r}, which is no time; remove or correct it") from None
    return replace(bundle, created=after.isoformat(timespec="seconds"))


def _prune_bundles(bundles: Path, keep: int, protected: Iterable[str | None]) -> list[str]:
    """Remove all but the newest `keep` bundles, never a protected one; the versions removed."""
    found = find_bundles(bundles)
    removed = [version for version in list(found)[: max(0, len(found) - keep)] if version not in protected]
    for version in removed:
        aside = found[version].with_name(f".removed-{found[version].name}")
        found[version].rename(aside)  # at once, so that nobody begins to read half a bundle
        shutil.rmtree(aside)
    return removed


def _prune_runs(current: Path, keep: int) -> None:
    runs = sorted(
        (path for path in current.parent.iterdir() if path != current), key=lambda path: path.stat().st_mtime
    )
    for path in runs[: max(0, len(runs) - keep + 1)]:
        shutil.rmtree(path)
