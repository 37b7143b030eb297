"""SQLite, the default event log, beside Redis."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.environment.servers import recblr_server
from loadtests.generator.experiment import (
    PREPARED_REQUESTS,
    Options,
    Run,
    ServerUnderTest,
    capacity,
    closed_loop_rates,
    measure_closed_loop,
    measure_open_loop,
    service_under_test,
)
from loadtests.generator.workload import event_requests

WORKERS = (1, 4)
LOAD_FRACTION = 0.5


@contextmanager
def service_on_sqlite(options: Options, workers: int) -> Iterator[ServerUnderTest]:
    """Run the service on an empty SQLite file."""
    with tempfile.TemporaryDirectory(prefix="recblr-loadtest-") as folder:
        url = f"sqlite:///{Path(folder) / 'recblr.db'}"
        with recblr_server(url, options.bundle, workers=workers, settings=options.service) as server:
            yield ServerUnderTest("SQLite", server)


def embedded_store(options: Options) -> dict[str, Any]:
    """Measure both stores in alternation, by number of workers.

    A ratio is the median of the rounds' ratios. At the end both run at half of the lower capacity.
    """
    runs: list[Run] = []
    summary: dict[str, Any] = {"rounds": options.rounds}
    for workers in options.sizes or WORKERS:
        requests = event_requests(options.histories, PREPARED_REQUESTS, f"{workers} workers", options.seed)
        rounds: list[Run] = []
        with ExitStack() as servers:
            sqlite = servers.enter_context(service_on_sqlite(options, workers))
            redis = servers.enter_context(service_under_test(options, workers=workers))
            for _ in range(options.rounds):
                rounds += [
                    measure_closed_loop(tested, requests, options, options.seconds) for tested in (sqlite, redis)
                ]
            rate = round(LOAD_FRACTION * min(capacity(rounds, tested.name) for tested in (sqlite, redis)))
            steady = [measure_open_loop(tested, requests, options, rate) for tested in (sqlite, redis)]
        pairs = zip(closed_loop_rates(rounds, sqlite.name), closed_loop_rates(rounds, redis.name), strict=True)
        summary[f"{workers} workers"] = {
            "sqlite_per_s": capacity(rounds, sqlite.name),
            "redis_per_s": capacity(rounds, redis.name),
            "ratio": round(median(one / other for one, other in pairs), 3),
            "p99_ms": {run["server"]: run["latency_ms"]["p99"] for run in steady},
            "at_per_s": rate,
        }
        runs += [run | {"label": f"{run['label']}, {workers} workers"} for run in (*rounds, *steady)]
    return {"runs": runs, "summary": summary, "charts": []}
