"""Measurements of a workload against a server, ready for JSON."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.environment.processes import CpuMeter, memory_mb, process_tree
from loadtests.environment.servers import (
    START_TIMEOUT_SECONDS,
    RedisServer,
    RedisSettings,
    Server,
    recblr_server,
    redis_server,
)
from loadtests.generator.generator import run_closed, run_open, schedule
from loadtests.generator.http_client import Request
from loadtests.generator.samples import Samples
from loadtests.generator.workload import Histories

# Requests prepared before a run. A longer run repeats them with new event ids.
PREPARED_REQUESTS = 20_000

Run = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the command line.

    Rates are requests per second, times are seconds; `loadtests.cli` describes each option.
    """

    bundle: Path
    item_ids: Sequence[str]
    histories: Histories
    redis: RedisSettings
    rate: float = 1000.0
    seconds: float = 20.0
    warmup: float = 5.0
    rounds: int = 5
    connections: int = 256
    in_flight: int = 32
    load_fraction: float = 0.7
    poisson: bool = True
    seed: int = 1
    peers_python: str | None = None
    peer_threads: int = 1
    sizes: Sequence[int] = ()
    only: str = ""
    fault: str = ""
    questions: float = 500.0
    flips: float = 200.0
    service: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerUnderTest:
    """A server whose CPU time and memory are reported."""

    name: str
    server: Server

    @property
    def process_groups(self) -> dict[str, int]:
        """Top process of each group that is reported."""
        return {"server": self.server.pid}


@dataclass(frozen=True, slots=True)
class ServiceUnderTest(ServerUnderTest):
    """The service, with the Redis that it writes to."""

    redis: RedisServer

    @property
    def process_groups(self) -> dict[str, int]:
        """Top processes of the service and of Redis."""
        return {"server": self.server.pid, "redis": self.redis.pid}


@contextmanager
def service_under_test(
    options: Options,
    *,
    bundle: Path | None = None,
    workers: int = 1,
    timeout_seconds: float = START_TIMEOUT_SECONDS,
) -> Iterator[ServiceUnderTest]:
    """Run the service on an empty Redis.

    Args:
        options: bundle, Redis settings and service settings.
        bundle: the bundle to serve instead of that of the options.
        workers: worker processes.
        timeout_seconds: limit of the service's start.
    """
    with (
        redis_server(options.redis) as redis,
        recblr_server(
            redis.url,
            bundle or options.bundle,
            workers=workers,
            settings=options.service,
            timeout_seconds=timeout_seconds,
        ) as service,
    ):
        yield ServiceUnderTest("recblr", service, redis)


def measure_open_loop(
    tested: ServerUnderTest, requests: Sequence[Request], options: Options, rate: float, label: str = ""
) -> Run:
    """Warm up, then measure latency at `rate` requests per second.

    Latency counts from when a request was due.
    """
    warmup = schedule(rate, options.warmup, poisson=options.poisson, seed=options.seed + 1)
    run_open(tested.server.port, requests, warmup, options.connections)
    due = schedule(rate, options.seconds, poisson=options.poisson, seed=options.seed)
    meter = CpuMeter(tested.process_groups)
    samples = run_open(tested.server.port, requests, due, options.connections)
    arrivals = "poisson" if options.poisson else "even"
    load = {"loop": "open", "offered_per_s": rate, "arrivals": arrivals, "connections": options.connections}
    return run_of(tested.name, tested.process_groups, label or tested.name, load, samples, meter.read())


def measure_closed_loop(
    tested: ServerUnderTest, requests: Sequence[Request], options: Options, seconds: float, label: str = ""
) -> Run:
    """Warm up, then measure capacity with `options.in_flight` requests always in flight."""
    run_closed(tested.server.port, requests, min(options.warmup, seconds / 3), options.in_flight)
    meter = CpuMeter(tested.process_groups)
    samples = run_closed(tested.server.port, requests, seconds, options.in_flight)
    load = {"loop": "closed", "connections": options.in_flight}
    return run_of(tested.name, tested.process_groups, label or tested.name, load, samples, meter.read())


def closed_loop_rates(runs: Iterable[Run], server: str) -> list[float]:
    """Return the requests per second of a server's closed-loop runs."""
    return [run["achieved_per_s"] for run in runs if run["server"] == server and run["loop"] == "closed"]


def capacity(runs: Iterable[Run], server: str) -> float:
    """Return the median of a server's closed-loop rates."""
    return round(median(closed_loop_rates(runs, server)), 1)


def errors_of(runs: Iterable[Run]) -> list[dict[str, int]]:
    """Return the errors by status of each run that had any."""
    return [run["errors"] for run in runs if run["errors"]]


def run_of(
    server: str,
    groups: Mapping[str, int],
    label: str,
    load: Mapping[str, Any],
    samples: Samples,
    spent: Mapping[str, float],
) -> Run:
    """Return the figures of one run, ready for JSON.

    Args:
        server: name of the server.
        groups: top process of each group whose memory is reported.
        label: name on the charts.
        load: how the load was offered.
        samples: the requests.
        spent: CPU seconds of each group, from `CpuMeter`.
    """
    summary = samples.summary()
    requests = max(1, summary["requests"])
    return {
        "server": server,
        "label": label,
        **load,
        **summary,
        "cpu_us_per_request": {
            name: round(seconds / requests * 1e6, 1) for name, seconds in spent.items() if name != "others"
        },
        "cpu_s": dict(spent),
        "memory_mb": {name: memory_mb(process_tree(pid)) for name, pid in groups.items()},
        "load_average": round(os.getloadavg()[0], 2),
        "distribution_ms": samples.distribution(),
        "over_time_ms": samples.over_time(),
    }
