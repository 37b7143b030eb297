"""Command line of the loaders: `recblr-events`."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ingest.command_options import add_read_options, add_service_options, read_options
from ingest.errors import DataError
from ingest.loading.event_loader import EventLoader, LoadResult
from ingest.loading.sorted_events import SortedEvents
from ingest.reading.event_cleaner import ReadSummary

_KEY = "RECBLR_API_KEY"
_IDENTITY_BYTES = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="recblr-events", description="Load events into the service's event log.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    load = commands.add_parser(
        "load",
        help="load a file of events into a running service",
        description="Send all events of a file to a running service, in order of time. Run the command again to "
        "resume an interrupted load. An event that was sent before counts once.",
        epilog=f"The API key is read from the environment variable {_KEY}. The last line of the output is the result "
        "as JSON. Exit codes: 0 all events are in the log, 1 the service refused some, 2 an error.",
    )
    load.add_argument("file", type=Path, help="table (CSV and its relatives, Parquet, JSON) or lines of histories")
    load.add_argument("--progress", type=Path, metavar="FILE", help="where to remember the progress (FILE.load.json)")
    add_service_options(load)
    add_read_options(load)
    options = parser.parse_args(arguments)
    try:
        result = _load(options)
    except DataError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if result.refused:
        sys.stderr.write(f"{result.refused:,} events were refused; the first: {result.first_refusal}\n")
    print(json.dumps(result.to_dict()))
    return 1 if result.refused else 0


def _load(options: argparse.Namespace) -> LoadResult:
    path: Path = options.file
    summary = ReadSummary(str(path))
    headers = {"authorization": f"Bearer {key}"} if (key := os.environ.get(_KEY)) else {}
    with SortedEvents(path, read_options(options), summary) as events:
        sys.stderr.write("\n".join(summary.lines()) + "\n")
        with httpx.Client(base_url=options.url, headers=headers) as client, _progress() as progress:
            task = progress.add_task("loading", total=len(events))
            loader = EventLoader(
                client,
                options.progress or path.with_name(path.name + ".load.json"),
                options.give_up,
                lambda done: progress.update(task, completed=done),
            )
            return loader.load(events, _identity(path))


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _identity(path: Path) -> str:
    """Return name, size and hash of the beginning of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_IDENTITY_BYTES)).hexdigest()
    return f"{path.name} {path.stat().st_size} {digest[:16]}"


if __name__ == "__main__":
    sys.exit(main())
