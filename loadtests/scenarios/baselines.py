"""Floors: the framework with a handler that does nothing, and the store by itself, measured beside the service."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from loadtests.environment.servers import Server, ServerFailed, free_port, http_server, recblr, redis_server
from loadtests.generator.experiment import Options, Target, closed_loop, open_loop
from loadtests.generator.workload import event_requests

# A memo of the default network: its header, and the state's 2,560 or 4,096 bytes, which lie around 3 KB.
SNAPSHOT_BYTES = 3072
KEYS = 10_000


@contextmanager
def empty_fastapi() -> Iterator[Server]:
    """The handler that does nothing."""
    port = free_port()
    with http_server(
        "floor", [sys.executable, "-m", "loadtests.scenarios.baseline_app", str(port)], {}, port, "/readyz"
    ) as server:
        yield server


def redis_benchmark(redis: Server, requests: int = 50_000, clients: int = 32) -> dict[str, float]:
    """SET and GET of values of the memo's size, one a round trip: requests per second of each."""
    executable = shutil.which("redis-benchmark")
    if executable is None:
        raise ServerFailed("there is no redis-benchmark on the PATH: it comes with redis-server")
    options = ["-n", str(requests), "-c", str(clients), "-d", str(SNAPSHOT_BYTES), "-r", str(KEYS)]
    command = [executable, "-h", "127.0.0.1", "-p", str(redis.port), "-t", "set,get", "--csv", *options]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    rows = [line.replace('"', "").split(",") for line in output.splitlines()]
    return {row[0].lower() + "_per_s": float(row[1]) for row in rows if row[0] in ("SET", "GET")}


def floors(options: Options) -> dict[str, Any]:
    """Capacity of the service and of the empty handler in turns, and Redis alone; the medians' ratio."""
    requests = event_requests(options.histories, 20_000, "floor", options.seed)
    runs: list[dict[str, Any]] = []
    plain: list[dict[str, float]] = []
    with (
        redis_server(options.redis) as redis,
        redis_server(options.redis) as other,
        recblr(redis, options.bundle, settings=options.service) as service,
        empty_fastapi() as floor,
    ):
        targets = [Target.of("recblr", service, redis), Target.of("empty FastAPI", floor)]
        for _ in range(options.rounds):
            runs += [closed_loop(target, requests, options, options.seconds) for target in targets]
            plain.append(redis_benchmark(other))
        rate = min(options.rate, 0.7 * min(capacity(runs, target.name) for target in targets))
        runs += [open_loop(target, requests, options, round(rate)) for target in targets]
    own, empty = capacity(runs, "recblr"), capacity(runs, "empty FastAPI")
    pairs = zip(_rates(runs, "recblr"), _rates(runs, "empty FastAPI"), strict=True)
    return {
        "runs": runs,
        "redis_benchmark": plain,
        "summary": {
            "recblr_per_s": own,
            "empty_fastapi_per_s": empty,
            "ratio": round(median(a / b for a, b in pairs), 3),
            "redis_set_per_s": median(row["set_per_s"] for row in plain),
            "redis_get_per_s": median(row["get_per_s"] for row in plain),
            "rounds": options.rounds,
            "p99_ms": {run["target"]: run["latency_ms"]["p99"] for run in runs[-2:]},
            "at_per_s": round(rate),
        },
        "charts": [
            {
                "title": "Capacity in each round, in turns",
                "x": "round",
                "y": "requests/s",
                "lines": {name: list(enumerate(_rates(runs, name), start=1)) for name in ("recblr", "empty FastAPI")},
            }
        ],
    }


def capacity(runs: list[dict[str, Any]], name: str) -> float:
    """Median requests per second of a target's closed-loop runs."""
    return round(median(_rates(runs, name)), 1)


def _rates(runs: list[dict[str, Any]], name: str) -> list[float]:
    return [run["achieved_per_s"] for run in runs if run["target"] == name and run["loop"] == "closed"]
