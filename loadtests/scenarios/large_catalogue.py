"""Latency, recall and memory with a catalogue of a million items."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.environment.processes import mapped_mb, process_tree
from loadtests.environment.servers import Server, start_timeout_seconds
from loadtests.environment.synthetic_catalogue import write_catalogue
from loadtests.generator.experiment import (
    PREPARED_REQUESTS,
    Options,
    Run,
    errors_of,
    measure_closed_loop,
    measure_open_loop,
    service_under_test,
)
from loadtests.generator.workload import event_requests, zipf_histories
from loadtests.scenarios.scaling import SYNTHETIC_USERS, index_recall
from model.bundle.bundle import WEIGHTS

ITEMS = 1_000_000
MAX_CAPACITY_SECONDS = 10.0


def large_catalogue(options: Options) -> dict[str, Any]:
    """Measure latency, capacity and memory with one and two workers."""
    size = options.sizes[0] if options.sizes else ITEMS
    runs: list[Run] = []
    summary: dict[str, Any] = {"items": size, "offered_per_s": options.rate, "rounds": options.rounds}
    with tempfile.TemporaryDirectory(prefix="loadtest-bundle-") as folder:
        bundle = Path(folder) / "bundle"
        ids = write_catalogue(bundle, options.bundle, size, options.seed)
        summary["table_mb"] = round((bundle / WEIGHTS).stat().st_size / (1 << 20), 1)
        histories = zipf_histories(ids, SYNTHETIC_USERS, options.seed)
        requests = event_requests(histories, PREPARED_REQUESTS, "large", options.seed)
        del ids, histories  # the memory is needed by the workers
        for workers in (1, 2):
            label = f"{workers} worker{'s' if workers > 1 else ''}"
            timeout_seconds = start_timeout_seconds(size)
            with service_under_test(
                options, bundle=bundle, workers=workers, timeout_seconds=timeout_seconds
            ) as tested:
                steady = [
                    measure_open_loop(tested, requests, options, options.rate, label) for _ in range(options.rounds)
                ]
                seconds = min(options.seconds, MAX_CAPACITY_SECONDS)
                at_capacity = measure_closed_loop(tested, requests, options, seconds, label)
                recall = index_recall(tested.server)
                summary |= {"search": "exact" if recall is None else "index", "recall@10": recall or 1.0}
                summary[label] = _summary(steady, at_capacity) | {"memory_mb": _memory_of_workers(tested.server)}
                runs += [*steady, at_capacity]
    return {"runs": runs, "summary": summary, "charts": []}


def _summary(steady: Sequence[Run], at_capacity: Run) -> dict[str, Any]:
    """Return medians over the rounds."""
    return {
        "achieved_per_s": median(run["achieved_per_s"] for run in steady),
        **{f"{name}_ms": median(run["latency_ms"][name] for run in steady) for name in ("p50", "p90", "p99")},
        "errors": errors_of([*steady, at_capacity]),
        "capacity_per_s": at_capacity["achieved_per_s"],
    }


def _memory_of_workers(service: Server) -> list[dict[str, float]]:
    """Return the memory of each process that maps the item table.

    Pages of the table that workers share count once in the sum of `pss`.
    """
    processes = [mapped_mb(pid, WEIGHTS) for pid in process_tree(service.pid)]
    return [process for process in processes if process["mapped_rss"] > 0]
