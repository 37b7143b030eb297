"""One measurement: a workload at a rate against a server, with what it cost whom, as a dictionary ready for JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtests.environment.processes import CpuMeter, descendants, memory_mb
from loadtests.environment.servers import RedisSettings, Server
from loadtests.generator.generator import run_closed, run_open, schedule
from loadtests.generator.http_client import Request
from loadtests.generator.samples import Samples
from loadtests.generator.workload import Histories

# Requests that are prepared beforehand; a longer run goes through them again, with new event ids.
PREPARED = 20_000


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line chose. Rates are requests per second, times are seconds."""

    bundle: Path
    item_ids: Sequence[str]
    histories: Histories
    redis: RedisSettings
    rate: float = 1000.0
    seconds: float = 20.0
    warmup: float = 5.0
    rounds: int = 5
    connections: int = 256
    saturating: int = 32
    share: float = 0.7
    poisson: bool = True
    seed: int = 1
    peers_python: str | None = None
    peer_threads: int = 1
    sizes: Sequence[int] = ()
    service: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and the processes whose CPU time is told apart."""

    name: str
    server: Server
    groups: Mapping[str, int]

    @classmethod
    def of(cls, name: str, server: Server, redis: Server | None = None) -> Target:
        """A server alone, or with the Redis that it writes to."""
        return cls(name, server, {"server": server.pid} | ({} if redis is None else {"redis": redis.pid}))


def open_loop(
    target: Target, requests: Sequence[Request], options: Options, rate: float, label: str = ""
) -> dict[str, Any]:
    """Warm up, then measure at `rate`; latencies count from when a request was due."""
    warm = schedule(rate, options.warmup, poisson=options.poisson, seed=options.seed + 1)
    run_open(target.server.port, requests, warm, options.connections)
    due = schedule(rate, options.seconds, poisson=options.poisson, seed=options.seed)
    meter = CpuMeter(target.groups)
    samples = run_open(target.server.port, requests, due, options.connections)
    arrivals = "poisson" if options.poisson else "even"
    asked = {"loop": "open", "asked_per_s": rate, "arrivals": arrivals, "connections": options.connections}
    return _result(target, label, asked, samples, meter.read())


def closed_loop(
    target: Target, requests: Sequence[Request], options: Options, seconds: float, label: str = ""
) -> dict[str, Any]:
    """Warm up, then measure the capacity with `options.saturating` requests always under way."""
    run_closed(target.server.port, requests, min(options.warmup, seconds / 3), options.saturating)
    meter = CpuMeter(target.groups)
    samples = run_closed(target.server.port, requests, seconds, options.saturating)
    asked = {"loop": "closed", "connections": options.saturating}
    return _result(target, label, asked, samples, meter.read())


def _result(
    target: Target, label: str, asked: dict[str, Any], samples: Samples, spent: Mapping[str, float]
) -> dict[str, Any]:
    summary = samples.summary()
    requests = max(1, summary["requests"])
    return {
        "target": target.name,
        "label": label or target.name,
        **asked,
        **summary,
        "cpu_us_per_request": {
            name: round(seconds / requests * 1e6, 1) for name, seconds in spent.items() if name != "others"
        },
        "cpu_s": dict(spent),
        "memory_mb": {name: memory_mb(descendants(pid)) for name, pid in target.groups.items()},
        "load_average": round(os.getloadavg()[0], 2),
        "distribution_ms": samples.distribution(),
        "over_time_ms": samples.over_time(),
    }
