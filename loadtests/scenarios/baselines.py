"""Capacity of the service, an empty FastAPI handler, and Redis alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from loadtests.environment.processes import free_port
from loadtests.environment.servers import Server, ServerError, http_server, redis_server
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

# Size of a snapshot of the default network: a header and a state of 2,560 or 4,096 bytes.
SNAPSHOT_BYTES = 3072
REDIS_KEYS = 10_000


@contextmanager
def empty_fastapi() -> Iterator[ServerUnderTest]:
    """Run the baseline app with one worker."""
    port = free_port()
    command = [sys.executable, "-m", "loadtests.scenarios.baseline_app", str(port)]
    with http_server("the baseline app", command, {}, port, "/readyz") as server:
        yield ServerUnderTest("empty FastAPI", server)


def redis_benchmark(redis: Server, requests: int = 50_000, clients: int = 32) -> dict[str, float]:
    """Return SET and GET operations per second of snapshot-sized values, without pipelining."""
    executable = shutil.which("redis-benchmark")
    if executable is None:
        raise ServerError("cannot find redis-benchmark on the PATH; it comes with redis-server")
    options = ["-n", str(requests), "-c", str(clients), "-d", str(SNAPSHOT_BYTES), "-r", str(REDIS_KEYS)]
    command = [executable, "-h", "127.0.0.1", "-p", str(redis.port), "-t", "set,get", "--csv", *options]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    rows = [line.replace('"', "").split(",") for line in output.splitlines()]
    return {row[0].lower() + "_per_s": float(row[1]) for row in rows if row[0] in ("SET", "GET")}


def baselines(options: Options) -> dict[str, Any]:
    """Measure the service, the empty handler and Redis in alternation.

    The ratio is the median of the rounds' ratios. At the end both servers are measured at the same steady rate.
    """
    requests = event_requests(options.histories, PREPARED_REQUESTS, "baselines", options.seed)
    runs: list[Run] = []
    redis_rates: list[dict[str, float]] = []
    with (
        redis_server(options.redis) as redis_alone,
        service_under_test(options) as own,
        empty_fastapi() as empty,
    ):
        for _ in range(options.rounds):
            runs += [measure_closed_loop(tested, requests, options, options.seconds) for tested in (own, empty)]
            redis_rates.append(redis_benchmark(redis_alone))
        rate = round(min(options.rate, 0.7 * min(capacity(runs, tested.name) for tested in (own, empty))))
        steady = [measure_open_loop(tested, requests, options, rate) for tested in (own, empty)]
    rates = {tested.name: closed_loop_rates(runs, tested.name) for tested in (own, empty)}
    return {
        "runs": [*runs, *steady],
        "redis_benchmark": redis_rates,
        "summary": {
            "recblr_per_s": capacity(runs, own.name),
            "empty_fastapi_per_s": capacity(runs, empty.name),
            "ratio": round(median(a / b for a, b in zip(rates[own.name], rates[empty.name], strict=True)), 3),
            "redis_set_per_s": median(row["set_per_s"] for row in redis_rates),
            "redis_get_per_s": median(row["get_per_s"] for row in redis_rates),
            "rounds": options.rounds,
            "p99_ms": {run["server"]: run["latency_ms"]["p99"] for run in steady},
            "at_per_s": rate,
        },
        "charts": [
            {
                "title": "Capacity in each round, measured in alternation",
                "x": "round",
                "y": "requests/s",
                "lines": {name: list(enumerate(values, start=1)) for name, values in rates.items()},
            }
        ],
    }
