"""Latency of an ordinary client beside attacks."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.environment.probed_service import VARIABLE, LoopProbe
from loadtests.environment.processes import memory_mb
from loadtests.environment.servers import free_port, http_server, redis_server
from loadtests.generator.attacks import ATTACKS
from loadtests.generator.experiment import Options, ServiceUnderTest
from loadtests.generator.generator import run_open, schedule
from loadtests.generator.http_client import Request
from loadtests.generator.samples import percentiles
from loadtests.generator.workload import event_requests

FEW_DESCRIPTORS = 256
_MAX_RATE = 50.0
_MAX_SECONDS = 6.0
_REST_SECONDS = 1.0
_RECOVERY_SECONDS = 45.0  # slow connections are closed by then
# Attacks that are also run against a server with few descriptors.
_CONNECTION_ATTACKS = ("silent_connections", "slow_connections")


def attack(options: Options) -> dict[str, Any]:
    """Measure an ordinary client without and beside each attack, in alternation.

    The client sends events with their top 10, at most 50 a second. The server has no keys, so that the attacker and
    the client are one caller to it.
    """
    seconds = min(options.seconds, _MAX_SECONDS)
    options = replace(options, seconds=seconds, rate=min(options.rate, _MAX_RATE))
    requests = event_requests(options.histories, 5_000, "attack", options.seed)
    attacks = {}
    with _probed_service(options) as (tested, probe):
        for name in ATTACKS:
            attacks[name] = _beside(name, tested, probe, requests, options)
    with _probed_service(options, FEW_DESCRIPTORS) as (tested, probe):
        for name in _CONNECTION_ATTACKS:
            attacks[f"{name}, {FEW_DESCRIPTORS} descriptors"] = _beside(name, tested, probe, requests, options)
    summary = {
        "largest_p99_ratio": max(each["p99_ratio"] for each in attacks.values()),
        "largest_memory_ratio": max(each["memory_ratio"] for each in attacks.values()),
        "longest_loop_cpu_ms": max(each["loop_cpu_ms"] for each in attacks.values()),
        "errors": sum(each["errors"] for each in attacks.values()),
        "attacks": attacks,
    }
    return {"runs": [], "summary": summary, "charts": []}


@contextmanager
def _probed_service(options: Options, descriptors: int | None = None) -> Iterator[tuple[ServiceUnderTest, LoopProbe]]:
    with tempfile.TemporaryDirectory() as folder, redis_server(options.redis) as redis:
        probe, port = LoopProbe(Path(folder) / "probe"), free_port()
        environment = {
            "RECBLR_PORT": str(port),
            "RECBLR_STATE_URL": redis.url,
            "RECBLR_BUNDLE": str(options.bundle),
            "RECBLR_LOG_LEVEL": "warning",
            VARIABLE: f"{folder}/probe",
            **options.service,
        }
        command = [sys.executable, "-m", "loadtests.environment.probed_service"]
        if descriptors is not None:
            command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
        with http_server("recblr", command, environment, port, "/readyz") as server:
            run_open(port, requests := event_requests(options.histories, 500, "warm", 1), _due(options, 2.0, 1), 16)
            del requests
            yield ServiceUnderTest("recblr", server, redis), probe


def _beside(
    name: str, tested: ServiceUnderTest, probe: LoopProbe, requests: Sequence[Request], options: Options
) -> dict[str, Any]:
    """Measure one attack."""
    port, pids = tested.server.port, [tested.server.pid]
    quiet, attacked, errors = [], [], 0
    before = at = memory_mb(pids)["rss"]
    probe.reset()
    for number in range(options.rounds):
        samples = run_open(port, requests, _due(options, options.seconds, 2 * number), options.connections)
        quiet.append(samples.latencies)
        command = [sys.executable, "-m", "loadtests.generator.attacks", name, str(port), str(options.seconds + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attacker:
            assert attacker.stdout is not None
            attacker.stdout.readline()
            samples = run_open(port, requests, _due(options, options.seconds, 2 * number + 1), options.connections)
            at = max(at, memory_mb(pids)["rss"])
            sent = int(attacker.stdout.read() or 0)
        attacked.append(samples.latencies)
        errors += int((~samples.succeeded).sum())
        time.sleep(_REST_SECONDS)
    loop = probe.read()
    after = _memory_after(pids, before)
    without, beside = percentiles(np.concatenate(quiet)), percentiles(np.concatenate(attacked))
    return {
        "quiet_ms": without,
        "attacked_ms": beside,
        "p50_ratio": round(beside["p50"] / without["p50"], 2),
        "p99_ratio": round(beside["p99"] / without["p99"], 2),
        "errors": errors,
        "sent_in_last_round": sent,
        "loop_cpu_ms": loop.cpu_ms,
        "loop_wall_ms": loop.wall_ms,
        "memory_mb": {"before": before, "at": at, "after": after},
        "memory_ratio": round(at / before, 2),
    }


def _due(options: Options, seconds: float, seed: int) -> Any:  # noqa: ANN401 - an array of numpy
    return schedule(options.rate, seconds, poisson=options.poisson, seed=options.seed + seed)


def _memory_after(pids: Sequence[int], before: float) -> float:
    """Return the memory once it is back, or after the recovery time."""
    end = time.monotonic() + _RECOVERY_SECONDS
    while (now := memory_mb(pids)["rss"]) > 1.1 * before and time.monotonic() < end:
        time.sleep(1.0)
    return now
