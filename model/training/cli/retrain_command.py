"""`retrain`: the job that a team runs every night."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from model.training.cli import options as shared

DECLINED = 3
_EPILOG = """exit codes: 0 published; 3 declined, the bundles are as they were and the reason is in the result; 2 an
error, the bundles are as they were. The last line of the output is the result as one JSON object."""


def add(commands: shared.Commands) -> None:
    """Declare the subcommand."""
    parser = shared.add_command(
        commands,
        "retrain",
        "export the service's log, train on all but its newest events, and unless the live model predicts those "
        "better, train once more on everything and publish that",
        run,
    )
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--state-url", required=True, help="the service's RECBLR_STATE_URL: sqlite:///path or redis://host:port/db")
    add("--bundles", type=Path, required=True, help="folder of versions (RECBLR_BUNDLE); the newest is the live one")
    add("--work", type=Path, required=True, help="folder of the job: the export, and a folder for each run")
    add("--margin", type=_not_negative, default=0.005, help="how much lower the new NDCG@10 may be, as a difference")
    add("--no-refit", action="store_true", help="publish the model that was compared, without its newest events")
    add("--keep", type=_at_least_one, default=5, help="bundles and runs to keep; the live bundle always stays")
    add("--holdout", type=_share, default=0.1, help="share of the events, the newest, that is not trained on")
    add("--holdout-hours", type=_not_negative, help="hold out the last hours before the newest event instead")
    add("--min-events", type=_at_least_one, default=1000, help="fewest events to train on")
    add("--min-compared", type=_at_least_one, default=100, help="fewest events that decide between two models")
    add("--max-compared", type=_at_least_one, default=200_000, help="most events, the newest, that decide")
    shared.add_device(parser)
    shared.add_model(parser)


def run(options: argparse.Namespace) -> int:
    """Do the job; print its result."""
    from model.training.pipelines.retrain import Job, retrain

    job = Job(
        state_url=options.state_url,
        bundles=options.bundles,
        work=options.work,
        margin=options.margin,
        refit=not options.no_refit,
        keep=options.keep,
        holdout=options.holdout,
        holdout_hours=options.holdout_hours,
        min_events=options.min_events,
        min_compared=options.min_compared,
        max_compared=options.max_compared,
        dim=options.dim,
        layers=options.layers,
        given=shared.given_of(options),
        device=shared.device_of(options),
    )
    result = retrain(job)
    print(json.dumps(result))
    return 0 if result["published"] else DECLINED


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be a number from 0")
    return value


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1")
    return value
