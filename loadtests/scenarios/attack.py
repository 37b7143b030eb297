"""Latency of an ordinary client beside attacks."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtests.environment.empty_server import READY_PATH
from loadtests.environment.probed_service import VARIABLE, LoopProbe, RequestProbe, requests_file
from loadtests.environment.processes import cpu_seconds, free_port, memory_mb, peak_memory_mb, reset_peak_memory
from loadtests.environment.servers import Server, http_server, redis_server
from loadtests.generator.attacks import ATTACKS
from loadtests.generator.experiment import Options, ServiceUnderTest
from loadtests.generator.generator import run_open, schedule
from loadtests.generator.http_client import Request
from loadtests.generator.samples import percentiles
from loadtests.generator.workload import event_requests

FEW_DESCRIPTORS = 256
MAX_RATE = 100.0  # of the ordinary client
_MAX_SECONDS = 6.0
_WARM_UP_SECONDS = 2.0
_WARM_UP_CONNECTIONS = 16
_REST_SECONDS = 1.0
_RECOVERY_SECONDS = 45.0  # slow connections are closed by then
_RECOVERED = 1.05
# Attacks that are also run against a server with few descriptors.
_CONNECTION_ATTACKS = ("silent_connections", "slow_connections")
QUIET, CONTROL, ATTACKED = "quiet", "control", "attacked"


def attack(options: Options) -> dict[str, Any]:
    """Measure an ordinary client in quiet, and beside each attack.

    The client sends events with their top 10. The server has no keys, so that the attacker and the client are one
    caller to it. Three kinds of windows alternate: no attack; the attack on an empty server, which shows what the
    attacker's own work costs the client on this machine; the attack on the service.
    """
    seconds = min(options.seconds, _MAX_SECONDS)
    options = replace(options, seconds=seconds, rate=min(options.rate, MAX_RATE))
    names = [name for name in ATTACKS if options.only in name]
    attacks, memory = {}, {}
    with _empty_server() as control:
        with _bench(options, control) as bench:
            before, highest = bench.memory(), 0.0
            for name in names:
                attacks[name] = bench.measure(name)
                highest = max(highest, attacks[name]["memory_mb"]["highest"])
            memory = {"before": before, "highest": highest, "after": bench.memory_after(before)}
        if again := [name for name in names if name in _CONNECTION_ATTACKS]:
            with _bench(options, control, FEW_DESCRIPTORS) as bench:
                for name in again:
                    attacks[f"{name}, {FEW_DESCRIPTORS} descriptors"] = bench.measure(name)
    return {"runs": [], "summary": summary(attacks) | {"memory_mb": memory, "attacks": attacks}, "charts": []}


def summary(attacks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the worst figure of all attacks."""
    return {
        "largest_p99_ratio": max(each["p99_to_quiet"] for each in attacks.values()),
        "largest_p99_ratio_to_control": max(each["p99_to_control"] for each in attacks.values()),
        "largest_work_p99_ratio": max(each["work_p99_to_quiet"] for each in attacks.values()),
        "largest_memory_ratio": max(each["memory_ratio"] for each in attacks.values()),
        "longest_loop_cpu_ms": max(each["loop_cpu_ms"] for each in attacks.values()),
        "errors": sum(each["errors"] for each in attacks.values()),
    }


@dataclass
class _Windows:
    """Measured windows of one kind."""

    latencies: list[NDArray[np.float64]] = field(default_factory=list)
    server_work: list[NDArray[np.float64]] = field(default_factory=list)
    cpu_seconds: dict[str, float] = field(default_factory=lambda: {"server": 0.0, "redis": 0.0, "attacker": 0.0})
    seconds: float = 0.0
    errors: int = 0
    sent: int = 0

    def milliseconds(self) -> dict[str, float]:
        return percentiles(np.concatenate(self.latencies))

    def work_milliseconds(self) -> dict[str, float]:
        return percentiles(np.concatenate(self.server_work))

    def cores(self) -> dict[str, float]:
        return {name: round(spent / self.seconds, 2) for name, spent in self.cpu_seconds.items()}


@dataclass
class _Bench:
    """A service, the empty server, and the ordinary client."""

    options: Options
    tested: ServiceUnderTest
    control: Server
    probe: LoopProbe
    request_probe: RequestProbe
    requests: Sequence[Request]
    windows: int = 0

    def measure(self, name: str) -> dict[str, Any]:
        """Measure one attack."""
        pid = self.tested.server.pid
        measured = {kind: _Windows() for kind in (QUIET, CONTROL, ATTACKED)}
        before = self.memory()
        reset_peak_memory(pid)
        loop_cpu = loop_wall = 0.0
        for _ in range(self.options.rounds):
            self._client(measured[QUIET])
            self._beside(name, self.control.port, measured[CONTROL])
            self.probe.reset()
            self._beside(name, self.tested.server.port, measured[ATTACKED])
            loop = self.probe.read()
            loop_cpu, loop_wall = max(loop_cpu, loop.cpu_ms), max(loop_wall, loop.wall_ms)
            time.sleep(_REST_SECONDS)
        highest, after = peak_memory_mb(pid), self.memory()
        times = {kind: windows.milliseconds() for kind, windows in measured.items()}
        work = {kind: windows.work_milliseconds() for kind, windows in measured.items()}
        return {
            "ms": times,
            "loop_cpu_during_request_ms": work,
            "work_p99_to_quiet": round(work[ATTACKED]["p99"] / work[QUIET]["p99"], 2),
            "p50_to_quiet": round(times[ATTACKED]["p50"] / times[QUIET]["p50"], 2),
            "p99_to_quiet": round(times[ATTACKED]["p99"] / times[QUIET]["p99"], 2),
            "p99_to_control": round(times[ATTACKED]["p99"] / times[CONTROL]["p99"], 2),
            "errors": sum(windows.errors for windows in measured.values()),
            "sent": measured[ATTACKED].sent,
            "cores": {kind: windows.cores() for kind, windows in measured.items()},
            "loop_cpu_ms": loop_cpu,
            "loop_wall_ms": loop_wall,
            "memory_mb": {"before": before, "highest": highest, "after": after},
            "memory_ratio": round(highest / before, 2),
        }

    def _beside(self, name: str, port: int, windows: _Windows) -> None:
        """Measure the client beside an attack on `port`."""
        seconds = self.options.seconds + 1
        command = [sys.executable, "-m", "loadtests.generator.attacks", name, str(port), str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attacker:
            assert attacker.stdout is not None
            attacker.stdout.readline()
            self._client(windows, attacker.pid)
            windows.sent += int(attacker.stdout.read() or 0)

    def _client(self, windows: _Windows, attacker: int = 0) -> None:
        """Measure the client for the length of a window."""
        pids = {"server": self.tested.server.pid, "redis": self.tested.redis.pid, "attacker": attacker}
        self.windows += 1
        due = _due(self.options, self.options.seconds, self.windows)
        began, spent = time.monotonic(), {name: cpu_seconds([pid] if pid else []) for name, pid in pids.items()}
        self.request_probe.reset()
        samples = run_open(self.tested.server.port, self.requests, due, self.options.connections)
        windows.server_work.append(self.request_probe.read())
        for name, pid in pids.items():
            windows.cpu_seconds[name] += cpu_seconds([pid] if pid else []) - spent[name]
        windows.seconds += time.monotonic() - began
        windows.latencies.append(samples.latencies)
        windows.errors += int((~samples.succeeded).sum())

    def memory(self) -> float:
        """Return the worker's resident memory in megabytes."""
        return memory_mb([self.tested.server.pid])["rss"]

    def memory_after(self, before: float) -> float:
        """Return the memory once it is back, or after the recovery time."""
        end = time.monotonic() + _RECOVERY_SECONDS
        while (now := self.memory()) > _RECOVERED * before and time.monotonic() < end:
            time.sleep(1.0)
        return now


@contextmanager
def _empty_server() -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "loadtests.environment.empty_server", str(port)]
    with http_server("empty", command, {}, port, READY_PATH) as server:
        yield server


@contextmanager
def _bench(options: Options, control: Server, descriptors: int | None = None) -> Iterator[_Bench]:
    with tempfile.TemporaryDirectory() as folder, redis_server(options.redis) as redis:
        path, port = Path(folder) / "probe", free_port()
        probe, request_probe = LoopProbe(path), RequestProbe(requests_file(path))
        environment = {
            "RECBLR_PORT": str(port),
            "RECBLR_STATE_URL": redis.url,
            "RECBLR_BUNDLE": str(options.bundle),
            "RECBLR_LOG_LEVEL": "warning",
            VARIABLE: str(path),
            **options.service,
        }
        command = [sys.executable, "-m", "loadtests.environment.probed_service"]
        if descriptors is not None:
            command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
        requests = event_requests(options.histories, 5_000, "attack", options.seed)
        with http_server("recblr", command, environment, port, "/readyz") as server:
            run_open(port, requests, _due(options, _WARM_UP_SECONDS, 0), _WARM_UP_CONNECTIONS)
            yield _Bench(options, ServiceUnderTest("recblr", server, redis), control, probe, request_probe, requests)


def _due(options: Options, seconds: float, seed: int) -> NDArray[np.float64]:
    return schedule(options.rate, seconds, poisson=options.poisson, seed=options.seed + seed)
