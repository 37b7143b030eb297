"""Latency of a service that runs a backfill: see `loadtests.scenarios.backfill.backfill_scenario`."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtests.environment.processes import CpuMeter
from loadtests.environment.seed_store import seed_store
from loadtests.environment.servers import ServerError
from loadtests.generator.experiment import PREPARED_REQUESTS
from loadtests.generator.generator import run_open, schedule
from loadtests.generator.http_client import SERIAL, Request, make_request
from loadtests.generator.samples import Samples, percentiles
from loadtests.scenarios.backfill.backfill_fixture import (
    BackfillOptions,
    BackfillService,
    backfill_service,
    empty_store,
)
from loadtests.scenarios.backfill.backfill_throughput import throughput
from model.bundle.bundle import load_bundle, write_bundle

SEEDED, OTHER = "event of a seeded user", "event of another user"
OTHER_USERS = 2_000
CONNECTIONS = 64
WINDOW_SECONDS = 5.0  # traffic between two checks of the backfill's progress
MAX_BACKFILL_SECONDS = 1800.0
MAX_RELATIVE_ERROR = 1e-5


def backfill_beside_serving(options: BackfillOptions) -> dict[str, Any]:
    """Seed, backfill without load, serve, backfill under load, serve again, audit."""
    source = load_bundle(options.bundle)
    items = [item.item_id for item in source.items]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loadtest-backfill-")))
        url, redis = stack.enter_context(empty_store(options, folder))
        bundles = folder / "bundles"
        shutil.copytree(options.bundle, bundles / source.version)
        _report(f"seeding {options.store}: users={options.users} events_of_each={options.events}")
        users = [f"seeded-{n}" for n in range(options.users)]
        seed_store(url, users, items, options.events, max(options.events, 1000))
        service = stack.enter_context(backfill_service(url, bundles, options.share, redis))
        _report("backfill without load")
        without_load = _backfill_without_load(service, source.version)
        traffic = _Traffic(service, _requests(service, users, items, options.seeded_fraction), options.rate)
        window_seconds = min(WINDOW_SECONDS, options.seconds)
        traffic.send(window_seconds, seed=0)
        _report(f"baseline latency: rate={options.rate:g}")
        before, cpu_per_request = traffic.measure_baseline(options.seconds, seed=1)
        _report("latency during a backfill for a new model version")
        version = f"{source.version}-again"
        write_bundle(bundles / version, replace(source, version=version, created=_not_before(source.created)))
        during = _backfill_under_load(service, version, traffic, window_seconds, cpu_per_request)
        _report("baseline latency after the backfill")
        after, _ = traffic.measure_baseline(options.seconds, seed=2)
        errors = _audit_snapshots(service, version, users, options.audited)
    return {
        "store": options.store,
        "users": options.users,
        "events_of_each": options.events,
        "share": options.share,
        "requests_per_s": options.rate,
        "seeded_fraction": options.seeded_fraction,
        "without_load": without_load,
        "baseline_ms": before,
        "under_load": during,
        "baseline_after_ms": after,
        "p99_to_baseline": _p99_ratios(during["latency_ms"], before),
        "snapshots_audited": len(errors),
        "largest_relative_error": max(errors, default=None),
    }


class _Traffic:
    """The same stream of requests at one rate, in windows."""

    def __init__(self, service: BackfillService, requests: Sequence[Request], rate: float) -> None:
        self._service, self._requests, self._rate = service, requests, rate

    def send(self, seconds: float, seed: int) -> Samples:
        """Send Poisson arrivals at the rate for `seconds`."""
        due: NDArray[np.float64] = schedule(self._rate, seconds, poisson=True, seed=seed)
        return run_open(self._service.server.port, self._requests, due, CONNECTIONS)

    def measure_baseline(self, seconds: float, seed: int) -> tuple[dict[str, Any], float]:
        """Return latencies without a backfill, and the server's CPU seconds per request."""
        meter = CpuMeter(self._service.process_groups)
        samples = self.send(seconds, seed)
        return _latency([samples]), meter.read()["server"] / max(1, len(samples))


def _report(step: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {step}", file=sys.stderr, flush=True)


def _requests(
    service: BackfillService, users: Sequence[str], items: Sequence[str], seeded_fraction: float
) -> list[Request]:
    """Prepare events that ask for ten items.

    The users that are not seeded have short logs.
    """
    rng = np.random.default_rng(2)
    requests = []
    for n in range(PREPARED_REQUESTS):
        seeded = rng.random() < seeded_fraction
        body = {
            "user_id": users[int(rng.integers(len(users)))] if seeded else f"other-{n % OTHER_USERS}",
            "item_id": items[int(rng.integers(len(items)))],
            "event_id": f"backfill-{SERIAL.decode()}",
        }
        requests.append(make_request(SEEDED if seeded else OTHER, "POST", "/v1/events?k=10", body, service.headers))
    return requests


def _backfill_without_load(service: BackfillService, version: str) -> dict[str, Any]:
    """Wait for the backfill that the start of the service has begun."""
    meter = CpuMeter(service.process_groups)
    deadline = time.monotonic() + MAX_BACKFILL_SECONDS
    while (progress := service.backfill_progress(version)) is None or progress["running"]:
        if time.monotonic() > deadline:
            raise ServerError(f"backfill without load did not end in time: version={version}")
        time.sleep(0.5)
    return _backfill_results(progress, meter.read(), 0.0)


def _backfill_under_load(
    service: BackfillService, version: str, traffic: _Traffic, window_seconds: float, cpu_per_request: float
) -> dict[str, Any]:
    """Make `version` live and serve until its backfill ends.

    A window of traffic that extends beyond the end of the backfill is not counted.
    """
    meter = CpuMeter(service.process_groups)
    if service.request("POST", "/v1/admin/reload", {"version": version})["model_version"] != version:
        raise ServerError(f"reload did not make the new version live: version={version}")
    windows: list[Samples] = []
    deadline, sent = time.monotonic() + MAX_BACKFILL_SECONDS, 0
    while time.monotonic() < deadline:
        window_ends_at = time.time() + window_seconds
        samples = traffic.send(window_seconds, seed=10 + sent)
        sent += len(samples)
        progress = service.backfill_progress(version)
        ended = progress is not None and not progress["running"]
        if progress is None or not ended or _timestamp(progress["ended_at"]) >= window_ends_at:
            windows.append(samples)
        if progress is not None and ended:
            results = _backfill_results(progress, meter.read(), cpu_per_request * sent)
            return results | {"windows": len(windows), "latency_ms": _latency(windows)}
    raise ServerError(f"backfill under load did not end in time: version={version}")


def _latency(windows: Sequence[Samples]) -> dict[str, Any]:
    """Return percentiles of all requests and of each kind."""
    if any(not samples.succeeded.all() for samples in windows):
        raise ServerError(f"requests failed: {[samples.summary()['errors'] for samples in windows]}")
    if not windows:
        return {}
    kinds = np.concatenate([samples.kind_indices for samples in windows])
    seconds = np.concatenate([samples.latencies for samples in windows])
    by_kind = {name: percentiles(seconds[kinds == n]) for n, name in enumerate(windows[0].kinds)}
    return {"requests": len(seconds), "all": percentiles(seconds)} | by_kind


def _p99_ratios(during: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, float]:
    return {
        kind: round(values["p99"] / before[kind]["p99"], 2) for kind, values in during.items() if kind != "requests"
    }


def _backfill_results(
    progress: Mapping[str, Any], cpu: Mapping[str, float], cpu_of_requests: float
) -> dict[str, Any]:
    """Return the throughput of a finished backfill.

    Args:
        progress: the service's record of it.
        cpu: seconds per process group meanwhile.
        cpu_of_requests: server seconds that the requests meanwhile would cost without a backfill.
    """
    seconds = _timestamp(progress["ended_at"]) - _timestamp(progress["started_at"])
    return {
        "snapshots": progress["snapshots"],
        "events": progress["events"],
        "passes": progress["pass"],
        "wall": throughput(progress["events"], seconds),
        "cpu_of_the_service": throughput(progress["events"], cpu["server"] - cpu_of_requests),
        "store_cpu_s": cpu.get("store"),
    }


def _audit_snapshots(service: BackfillService, version: str, users: Sequence[str], count: int) -> list[float]:
    """Return the relative errors of some users' snapshots.

    Raises:
        ServerError: a snapshot is missing, of another version, or differs from the replay of its log.
    """
    errors = []
    for user in users[:: max(1, len(users) // count)]:
        audit = service.request("GET", f"/v1/users/{user}/audit")
        is_current = (audit["snapshot"], audit["model_version"]) == ("found", version)
        if not is_current or audit["max_relative_error"] > MAX_RELATIVE_ERROR:
            raise ServerError(f"audit of a snapshot failed: {audit}")
        errors.append(float(audit["max_relative_error"]))
    return errors


def _timestamp(iso_time: str) -> float:
    return datetime.fromisoformat(iso_time).timestamp()


def _not_before(created: str) -> str:
    """Return a creation time that is not before `created`.

    The service serves the newest version.
    """
    return max(created, datetime.now().astimezone().isoformat(timespec="seconds"))
