"""Command `retrain`: the nightly job."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from ingest.errors import DataError
from model.training.ab_test.ab_test_record import AbTestRecord, unfinished_tests
from model.training.ab_test.promotion import AbTestSettings, run_ab_test
from model.training.cli import shared_options as shared
from model.training.cli.scheduled_job import (
    DECLINED,
    FAILED,
    PUBLISHED,
    exclusive_locks,
    report_outcome,
    time_limit,
)

EXIT_DECLINED = 3
_STATE_URL = "RECBLR_STATE_URL"
_EPILOG = """exit codes: 0 published; 3 declined or withdrawn, the result has the reason; 2 an error. With 3 no new
version is in the registry, and with 2 neither, unless the A/B test failed. The last line of the output is the result
as one JSON object. One line of JSON on stderr has the outcome, for alerts. One retrain at a time uses a registry and
a work folder."""


def add(subparsers: shared.Subparsers) -> None:
    """Add the subcommand."""
    help_text = (
        "export the service's log and train on all but its newest events; unless the live model predicts those "
        "better, train again on all events and publish the model"
    )
    parser = shared.add_command(subparsers, "retrain", help_text, run)
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--state-url", help=f"the service's {_STATE_URL}; if absent, the environment variable of this name")
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
    add("--timeout-hours", type=_above_zero, help="give up after these hours; the next run resumes")
    add("--metrics", type=Path, help="text file for Prometheus' node exporter, such as .../retrain.prom")
    _add_ab_test_options(parser)
    shared.add_device_option(parser)
    shared.add_model_options(parser)


def _add_ab_test_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("A/B test, with a key in RECBLR_API_KEY").add_argument
    add("--ab-share", type=_fraction, help="let a published version answer this share of the users first")
    add("--service-url", help="address of the service, for --ab-share")
    add("--ab-hours", type=_above_zero, default=20.0, help="then promote the version if it was not worse")
    add("--ab-alpha", type=_fraction, default=0.05, help="how often two equal models may be told apart")
    add("--ab-poll-seconds", type=_above_zero, default=30.0, help="time between two looks at the service's counters")
    add("--finish-ab-test", action="store_true", help="only finish the A/B test of a job that was interrupted")


def run(options: argparse.Namespace) -> int:
    """Run the job and print its result; return the exit code.

    The outcome is reported also if the job fails.
    """
    started = time.time()
    try:
        result = _job(options)
    except BaseException as error:
        failure = {"reason": str(error) or type(error).__name__}
        report_outcome(FAILED, failure, started, options.metrics)
        raise
    if result is None:
        return 0
    report_outcome(PUBLISHED if result["published"] else DECLINED, result, started, options.metrics)
    print(json.dumps(result))
    return 0 if result["published"] else EXIT_DECLINED


def _job(options: argparse.Namespace) -> dict[str, Any] | None:
    """Finish an interrupted A/B test, then retrain.

    Returns None if only a test was to be finished, and there is none.
    """
    if (options.ab_share is None) != (options.service_url is None):
        raise DataError("give --ab-share and --service-url together, or neither")
    if not (state_url := options.state_url or os.environ.get(_STATE_URL)):
        raise DataError(f"give --state-url, or set {_STATE_URL}")
    with exclusive_locks(options.work, options.bundles):
        earlier = [_ab_test(options, version) for version in unfinished_tests(options.bundles)]
        if options.finish_ab_test:
            return earlier[-1] if earlier else None
        result = _retrain(options, state_url)
        if result["published"] and unfinished_tests(options.bundles):
            result |= _ab_test(options, result["version"])
    return result | ({"earlier_ab_tests": [test["ab_test"] for test in earlier]} if earlier else {})


def _retrain(options: argparse.Namespace, state_url: str) -> dict[str, Any]:
    from model.training.pipelines.retrain import RetrainJob, retrain

    ab_test = None
    if options.ab_share is not None:
        ab_test = AbTestRecord(options.service_url, options.ab_share, options.ab_hours, options.ab_alpha).to_json()
    job = RetrainJob(
        state_url=state_url,
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
        ab_test=ab_test,
    )
    with time_limit(options.timeout_hours):
        return retrain(job)


def _ab_test(options: argparse.Namespace, version: str) -> dict[str, Any]:
    """Run or continue an A/B test; return entries of the result."""
    tested = run_ab_test(options.bundles, version, AbTestSettings(options.ab_poll_seconds))
    reasons = {
        "better": "promoted: its live accuracy was higher than the live model's",
        "worse": "withdrawn: its live accuracy was lower than the live model's",
        "undecided": "promoted: its live accuracy was not shown to be lower in the longest time",
    }
    is_promoted = tested["outcome"] == "promoted"
    ended = f"{tested['outcome']}: an operator has ended the A/B test"
    reason = reasons.get(tested["decision"], ended)
    return {"published": is_promoted, "version": version, "reason": reason, "ab_test": tested}


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


def _above_zero(text: str) -> float:
    value = _not_negative(text)
    if value == 0.0:
        raise argparse.ArgumentTypeError("must be a number above 0")
    return value


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be a whole number of at least 1")
    return value
