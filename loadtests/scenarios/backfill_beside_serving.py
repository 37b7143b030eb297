"""The rebuild by a service that serves at the same time: see `loadtests.scenarios.backfill_scenario`."""

from __future__ import annotations

import argparse
import asyncio
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
from loadtests.environment.servers import ServerFailed
from loadtests.generator.experiment import PREPARED
from loadtests.generator.generator import run_open, schedule
from loadtests.generator.http_client import SERIAL, Request, make_request
from loadtests.generator.samples import Samples, percentiles
from loadtests.scenarios.backfill_fixture import House, fill, service_on, store_of
from loadtests.scenarios.backfill_scenario import rate as rate_of
from model.bundle.bundle import load_bundle, write_bundle

STORED, OTHERS = "event of a user of the store", "event of another user"
OTHER_USERS = 2_000
CONNECTIONS = 64
WINDOW = 5.0  # seconds of traffic between two looks at whether the rebuild is over
LONGEST = 1800.0  # seconds that a rebuild may take


def serving(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fill, rebuild in quiet, serve, rebuild while serving, serve again, audit."""
    source = load_bundle(arguments.bundle)
    items = [item.item_id for item in source.items]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loadtest-rebuild-")))
        url, redis = stack.enter_context(store_of(arguments, folder))
        bundles = folder / "bundles"
        shutil.copytree(arguments.bundle, bundles / source.version)
        _tell(f"filling {arguments.store} with {arguments.users} users of {arguments.events} events")
        asyncio.run(fill(url, items, arguments.users, arguments.events))
        harness = stack.enter_context(service_on(url, bundles, arguments.share, redis))
        _tell("rebuilding their memos, with nothing else to do")
        quiet = _quiet(harness, source.version, CpuMeter(harness.groups))
        requests = _requests(harness, arguments.users, items, arguments.touching)
        window = min(WINDOW, arguments.seconds)
        run_open(harness.service.port, requests, _due(arguments.rate, window, 0), CONNECTIONS)
        _tell(f"serving {arguments.rate:g} requests/s, the base line")
        before, base_cpu = _measure(harness, requests, arguments.rate, arguments.seconds, 1)
        _tell("serving as much while the memos are rebuilt for another model")
        version = f"{source.version}-again"
        write_bundle(bundles / version, replace(source, version=version, created=_later(source.created)))
        under_load = _under_load(harness, version, requests, arguments.rate, window, base_cpu)
        _tell("serving after it, the base line again")
        after, _ = _measure(harness, requests, arguments.rate, arguments.seconds, 2)
        errors = _audit(harness, version, arguments.users, arguments.audited)
    return {
        "store": arguments.store,
        "users": arguments.users,
        "events_of_each": arguments.events,
        "share": arguments.share,
        "requests_per_s": arguments.rate,
        "share_of_requests_of_the_stores_users": arguments.touching,
        "quiet": quiet,
        "base_line_ms": before,
        "while_serving": under_load,
        "base_line_afterwards_ms": after,
        "p99_to_base_line": _ratios(under_load["latency_ms"], before),
        "snapshots_audited": len(errors),
        "largest_relative_error": max(errors, default=None),
    }


def _tell(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def _requests(harness: House, users: int, items: Sequence[str], touching: float) -> list[Request]:
    """Events that ask for ten items; see `loadtests.scenarios.backfill_scenario`."""
    rng, headers = np.random.default_rng(2), {"authorization": f"Bearer {harness.key}"}
    requests = []
    for n in range(PREPARED):
        stored = rng.random() < touching
        body = {
            "user_id": f"stored-{rng.integers(users)}" if stored else f"other-{n % OTHER_USERS}",
            "item_id": items[int(rng.integers(len(items)))],
            "event_id": f"rebuild-{SERIAL.decode()}",
        }
        requests.append(make_request(STORED if stored else OTHERS, "POST", "/v1/events?k=10", body, headers))
    return requests


def _quiet(harness: House, version: str, meter: CpuMeter) -> dict[str, Any]:
    """The rebuild that the start has begun, with nothing else to do."""
    deadline = time.monotonic() + LONGEST
    while (found := _rebuild(harness, version)) is None or found["running"]:
        if time.monotonic() > deadline:
            raise ServerFailed("the rebuild did not end in time")
        time.sleep(0.5)
    return _outcome(found, meter.read(), 0.0)


def _under_load(
    harness: House, version: str, requests: Sequence[Request], rate: float, window: float, base_cpu: float
) -> dict[str, Any]:
    """Make `version` live and serve until its memos are rebuilt. Windows that reach beyond its end do not count."""
    meter = CpuMeter(harness.groups)
    if harness.ask("POST", "/v1/admin/reload", {"version": version})["model_version"] != version:
        raise ServerFailed("the new version is not live")
    windows: list[Samples] = []
    deadline, sent = time.monotonic() + LONGEST, 0
    while time.monotonic() < deadline:
        began = time.time()
        samples = run_open(harness.service.port, requests, _due(rate, window, 10 + sent), CONNECTIONS)
        sent += len(samples)
        found = _rebuild(harness, version)
        if found is None or found["running"] or datetime.fromisoformat(found["ended"]).timestamp() >= began + window:
            windows.append(samples)
        if found is not None and not found["running"]:
            return _outcome(found, meter.read(), base_cpu * sent) | {
                "windows": len(windows),
                "latency_ms": _latency(windows),
            }
    raise ServerFailed("the rebuild did not end in time")


def _measure(
    harness: House, requests: Sequence[Request], rate: float, seconds: float, seed: int
) -> tuple[dict[str, Any], float]:
    """A base line, and the server's CPU seconds for each request."""
    meter = CpuMeter(harness.groups)
    samples = run_open(harness.service.port, requests, _due(rate, seconds, seed), CONNECTIONS)
    return _latency([samples]), meter.read()["server"] / max(1, len(samples))


def _due(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    return schedule(rate, seconds, poisson=True, seed=seed)


def _latency(windows: Sequence[Samples]) -> dict[str, Any]:
    """Percentiles of all requests and of each kind; every answer must have been good."""
    if any(not samples.good.all() for samples in windows):
        raise ServerFailed(f"requests failed: {[samples.summary()['errors'] for samples in windows]}")
    if not windows:
        return {}
    kinds = np.concatenate([samples.kind_of_each for samples in windows])
    seconds = np.concatenate([samples.latencies for samples in windows])
    of_kind = {name: percentiles(seconds[kinds == n]) for n, name in enumerate(windows[0].kinds)}
    return {"requests": len(seconds), "all": percentiles(seconds)} | of_kind


def _ratios(meanwhile: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: round(values["p99"] / base[name]["p99"], 2) for name, values in meanwhile.items() if name != "requests"
    }


def _rebuild(harness: House, version: str) -> dict[str, Any] | None:
    rebuilds = harness.ask("GET", "/v1/admin/backfills")["backfills"]
    return next((each for each in rebuilds if each["model_version"] == version), None)


def _outcome(found: Mapping[str, Any], cpu: Mapping[str, float], requests_cpu: float) -> dict[str, Any]:
    """A rebuild that has ended; the server's CPU time, less what its requests would have cost without it."""
    seconds = (datetime.fromisoformat(found["ended"]) - datetime.fromisoformat(found["begun"])).total_seconds()
    return {
        "snapshots": found["snapshots"],
        "events": found["events"],
        "walks": found["walk"],
        "wall": rate_of(found["events"], seconds),
        "cpu_of_the_service": rate_of(found["events"], cpu["server"] - requests_cpu),
        "store_cpu_s": cpu.get("store"),
    }


def _audit(harness: House, version: str, users: int, count: int) -> list[float]:
    """The errors of some users' memos, all of which must be there and of this version."""
    errors = []
    for user in range(0, users, max(1, users // count)):
        audit = harness.ask("GET", f"/v1/users/stored-{user}/audit")
        if (audit["snapshot"], audit["model_version"]) != ("found", version) or audit["max_relative_error"] > 1e-5:
            raise ServerFailed(f"a memo is not what it should be: {audit}")
        errors.append(float(audit["max_relative_error"]))
    return errors


def _later(created: str) -> str:
    """A bundle's time of making, after this one: the newest version is the one that is served."""
    return max(created, datetime.now().astimezone().isoformat(timespec="seconds"))
