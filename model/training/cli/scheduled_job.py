"""Lock, timeout, metrics and log line of a scheduled job."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from ingest.errors import DataError

PUBLISHED, DECLINED, FAILED = "published", "declined", "failed"
_PREFIX = "recblr_retrain_"
_LOGGED = ("reason", "version", "live_version", "compared_events", "ab_test")
# Kept from the run before unless this run sets them.
_LASTING = ("last_published_timestamp_seconds", "last_success_timestamp_seconds")


@contextmanager
def exclusive_locks(*folders: Path) -> Iterator[None]:
    """Lock folders, so that one job at a time uses them.

    Missing folders are created, and removed again if they stay empty. The locks end with the process, also if it is
    killed.

    Raises:
        DataError: another job has locked one of them.
    """
    with ExitStack() as stack:
        for folder in folders:
            is_new = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not os.path.samestat(
                    os.fstat(descriptor), folder.stat()
                ):  # removed, and perhaps created, meanwhile
                    raise BlockingIOError
            except (BlockingIOError, FileNotFoundError):
                raise DataError(f"another retrain uses {folder}; wait until it has finished") from None
            if is_new:
                stack.callback(_remove_if_empty, folder)
        yield


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def time_limit(hours: float | None) -> Iterator[None]:
    """Raise `DataError` in the main thread after `hours`, None for no limit."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise DataError(f"not finished within {hours:g} hours (--timeout-hours); the same command resumes the run")

    if hours is None:
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, hours * 3600.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def report_outcome(outcome: str, result: Mapping[str, Any], started: float, metrics_file: Path | None) -> None:
    """Write one line of JSON to stderr, and the metrics file.

    Args:
        outcome: `PUBLISHED`, `DECLINED` or `FAILED`.
        result: result of the job; `reason` at least.
        started: start of the job, Unix seconds.
        metrics_file: text file for Prometheus' node exporter, None for none.
    """
    now = time.time()
    fields = {name: result[name] for name in _LOGGED if name in result}
    line = {
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "level": "ERROR" if outcome == FAILED else "INFO",
        "message": "retrain finished",
        "outcome": outcome,
        "seconds": round(now - started, 1),
        **fields,
    }
    sys.stderr.write(json.dumps(line) + "\n")
    if metrics_file is not None:
        _write_metrics(metrics_file, job_metrics(outcome, result, started, now))


def job_metrics(outcome: str, result: Mapping[str, Any], started: float, now: float) -> dict[str, float]:
    """Return the metrics of a run by name, labels included."""
    metrics = {"last_run_timestamp_seconds": now, "duration_seconds": now - started}
    metrics |= {f'outcome{{outcome="{name}"}}': float(name == outcome) for name in (PUBLISHED, DECLINED, FAILED)}
    if outcome != FAILED:
        metrics["last_success_timestamp_seconds"] = now
    if outcome == PUBLISHED:
        metrics["last_published_timestamp_seconds"] = now
    if "compared_events" in result:
        metrics["compared_events"] = float(result["compared_events"])
    for model in ("new", "live"):
        if result.get(model):
            metrics[f'ndcg_at_10{{model="{model}"}}'] = float(result[model]["ndcg@10"])
    return metrics


def _write_metrics(path: Path, metrics: dict[str, float]) -> None:
    """Replace the metrics file atomically."""
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        name, _, value = line.removeprefix(_PREFIX).rpartition(" ")
        if name in _LASTING:
            metrics.setdefault(name, float(value))
    temporary = path.with_name(f"{path.name}.temporary")
    temporary.write_text("".join(f"{_PREFIX}{name} {value!r}\n" for name, value in metrics.items()), "utf-8")
    temporary.replace(path)
