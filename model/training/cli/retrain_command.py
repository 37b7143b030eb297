"""Command `retrain`: the nightly job."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from model.training.cli import options as shared

EXIT_DECLINED = 3
_EPILOG = """exit codes: 0 published; 3 declined, the result has the reason; 2 an error. With 3 and 2 the folder of
versions is unchanged. The last line of the output is the result as one JSON object."""


def add(subparsers: shared.Subparsers) -> None:
    """Add the subcommand."""
    help_text = (
        "export the service's log and train on all but its newest events; unless the live model predicts those "
        "better, train again on all events and publish the model"
    )
    parser = shared.add_command(subparsers, "retrain", help_text, run)
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--state-url", required=True, help="the service's RECBLR_STATE_URL: sqlite:///path or redis://host:port/db")
    add("--bundles", type=Path, required=True, help="model registry (RECBLR_BUNDLE); the newest is the live one")
    add("--work", type=Path, required=True, help="folder of the job, for the export and the runs")
    add("--margin", type=_not_negative, default=0.005, help="how much lower the new NDCG@10 may be, as a difference")
    add("--no-refit", action="store_true", help="publish the measured model, which lacks the newest events")
    add("--keep", type=_at_least_one, default=5, help="bundles and runs to keep; the live bundle is always kept")
    add("--holdout", type=_fraction, default=0.1, help="fraction of the events to hold out, the newest ones")
    add("--holdout-hours", type=_not_negative, help="hold out the last hours before the newest event instead")
    add("--min-events", type=_at_least_one, default=1000, help="fewest events to train on")
    add("--min-compared", type=_at_least_one, default=100, help="fewest events to compare two models on")
    add("--max-compared", type=_at_least_one, default=200_000, help="most events to compare on, the newest ones")
    shared.add_device_option(parser)
    shared.add_model_options(parser)


def run(options: argparse.Namespace) -> int:
    """Run the job and print its result; return the exit code."""
    from model.training.pipelines.retrain import RetrainJob, retrain

    result = retrain(
        RetrainJob(
            state_url=options.state_url,
            registry=options.bundles,
            work=options.work,
            margin=options.margin,
            refit=not options.no_refit,
            keep=options.keep,
            holdout=options.holdout,
            holdout_hours=options.holdout_hours,
            min_events=options.min_events,
            min_compared=options.min_compared,
            max_compared=options.max_compared,
            model=shared.model_settings_from(options),
            device=shared.device_from(options),
        )
    )
    print(json.dumps(result))
    return 0 if result["published"] else EXIT_DECLINED


def _fraction(text: str) -> float:
    value = float(text)
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError("must be between 0 and 1")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of at least 0")
    return value


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be a whole number of at least 1")
    return value
