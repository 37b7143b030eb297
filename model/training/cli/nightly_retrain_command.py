"""Command `nightly`: run `retrain` once a day."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from datetime import datetime, timedelta

from model.training.cli import shared_options as shared

_EPILOG = """All other options are those of retrain. Each night is a process of its own, so that a night that fails
does not end the schedule; its exit code and its last lines are in the log. An A/B test that a stop has interrupted is
continued at the start."""
_CHECK_SECONDS = 30.0  # so that a clock that was set counts at once


def add(subparsers: shared.Subparsers) -> None:
    """Add the subcommand."""
    parser = shared.add_command(subparsers, "nightly", "run retrain every day at a time", run)
    parser.epilog = _EPILOG
    parser.add_argument("--at", type=_time_of_day, default="03:00", help="local time of day, as HH:MM")
    parser.add_argument("--now", action="store_true", help="run once at the start too")
    parser.add_argument("--once", action="store_true", help="end after the first run, with its exit code")
    parser.add_argument("retrain", nargs=argparse.REMAINDER, metavar="-- RETRAIN OPTIONS", help="options of retrain")


def run(options: argparse.Namespace) -> int:
    """Run `retrain` at its times; return only with `--once`."""
    arguments = options.retrain[1:] if options.retrain[:1] == ["--"] else options.retrain
    command = [sys.executable, "-m", "model.training", "retrain", *arguments]
    # Of a job that was killed; it must not run on until the night.
    subprocess.run([*command, "--finish-ab-test"], check=False)  # noqa: S603 - our own command, no shell
    if not options.now:
        _sleep_until(_next_time(datetime.now().astimezone(), options.at))
    while True:
        code = subprocess.run(command, check=False).returncode  # noqa: S603 - our own command, no shell
        if options.once:
            return code
        _sleep_until(_next_time(datetime.now().astimezone(), options.at))


def _next_time(now: datetime, at: str) -> datetime:
    """Return the next moment after `now` at the time of day `at`."""
    hour, minute = map(int, at.split(":"))
    moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return moment if moment > now else moment + timedelta(days=1)


def _sleep_until(moment: datetime) -> None:
    while (seconds := (moment - datetime.now().astimezone()).total_seconds()) > 0:
        time.sleep(min(seconds, _CHECK_SECONDS))


def _time_of_day(text: str) -> str:
    try:
        return datetime.strptime(text, "%H:%M").strftime("%H:%M")
    except ValueError:
        raise argparse.ArgumentTypeError("must be a time of day such as 03:00") from None
