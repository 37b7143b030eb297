"""Repeated reloads under load, some killed half way.

Every answer is the replay by one model version.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
import redis

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from service.core.rollout.desired_state import ROLLOUT_RECORD, DesiredState, decode_desired_state
from tests.deployments import wait_for
from tests.end_to_end.service import KEY, RunningService
from tests.faults.harness.catalogue_traffic import CatalogueTraffic
from tests.faults.harness.client import Client
from tests.faults.harness.load_checks import audit_after_load, check_load
from tests.faults.harness.modes import LONG, report, short_or_long
from tests.faults.harness.population import Population
from tests.faults.harness.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261129
WORKERS, ITEMS = 2, 200
# Shapes differ, so that a state of one model is never valid for the other.
BUNDLES = (
    bundle_of(ModelConfig(items=ITEMS, dim=16), seed=1, version="a", created="2026-01-01"),
    bundle_of(ModelConfig(items=ITEMS, dim=24, layers=1), seed=2, version="b", created="2026-02-01"),
)
SETTINGS = {"RECBLR_WORKERS": str(WORKERS), "RECBLR_EVENTS_KEPT": "100000"}

# When the kill happens: after the request for a reload, during the load of the version, or after the decision.
Moment = Literal["asked", "coming", "decided"]


def test_reload_under_load_fails_no_request(tmp_path: Path) -> None:
    for bundle in BUNDLES:
        write_bundle(tmp_path / "bundles" / bundle.version, bundle)
    with RedisServer() as server, RunningService(tmp_path, server.url, tmp_path / "bundles", **SETTINGS) as service:
        asyncio.run(_reload_repeatedly(service, server.url))


async def _reload_repeatedly(service: RunningService, url: str) -> None:
    population, load = await _start_load(service, short_or_long(50, 100_000), pause_seconds=0.02)
    traffic = CatalogueTraffic(service.url, url, load.items, SEED)
    reloads = []
    async with load.running(), traffic.running():
        started_at = time.monotonic()
        await asyncio.sleep(short_or_long(2, 20))
        quiet = (started_at, time.monotonic())
        for n in range(short_or_long(4, 20)):
            started_at = time.monotonic()
            version = BUNDLES[n % 2].version
            status, answer = await _reload(service, version)
            reloads.append((started_at, time.monotonic()))
            assert (status, answer["model_version"]) == (200, version)
            await load.wait_for_acknowledged(20)
            await asyncio.sleep(short_or_long(0, 1))
    result = await check_load(load, BUNDLES, population, traffic)
    audits = []
    for bundle in BUNDLES:  # audit the snapshots of each model
        await _reload(service, bundle.version)
        audits.append(await audit_after_load(load, url, population, result))
    answered_by = Counter(answer.version for answer in load.answers)
    report(
        "reload under load",
        seed=SEED,
        reloads=len(reloads),
        acknowledged=len(load.acknowledged),
        answers=dict(answered_by),
        statuses=dict(load.statuses),
        **traffic.figures(),
        **result.figures(),
        longest_reload_seconds=round(max(end - begin for begin, end in reloads), 2),
        quiet_p99_ms=_p99(load, [quiet]),
        reloading_p99_ms=_p99(load, reloads),
        requests_while_reloading=len(_during(load, reloads)),
        **{f"audit_{b.version}": a.figures() for b, a in zip(BUNDLES, audits, strict=True)},
    )
    assert set(load.statuses) == {"200"}
    assert result.clean(), result
    assert set(answered_by) == {"a", "b"}
    assert all(each.damaged == 0 and each.max_relative_error <= 1e-5 for each in audits)


@pytest.mark.parametrize("killed", ["one worker", "all"])
def test_reload_killed_half_way_ends_with_one_version(tmp_path: Path, killed: str) -> None:
    for bundle in BUNDLES:
        write_bundle(tmp_path / "bundles" / bundle.version, bundle)
    with RedisServer() as server, RunningService(tmp_path, server.url, tmp_path / "bundles", **SETTINGS) as service:
        asyncio.run(_kill_reloads(service, server.url, killed))


async def _kill_reloads(service: RunningService, url: str, killed: str) -> None:
    rng = random.Random(SEED)
    moments: Sequence[Moment] = ("asked", "coming", "decided") * 3 if LONG else ("coming",)
    population, load = await _start_load(service, short_or_long(50, 5_000), pause_seconds=0.1)
    restarts: list[float] = []
    outcomes: Counter[str] = Counter()
    traffic = CatalogueTraffic(service.url, url, load.items, SEED)
    async with load.running(), traffic.running():
        with redis.Redis.from_url(url, decode_responses=True) as client:
            for moment in moments:
                before = _rollout(client).serving.live
                other = "b" if before == "a" else "a"
                reload = asyncio.create_task(_reload(service, other))
                await asyncio.to_thread(wait_for, moment, partial(_is_at, client, moment, other))
                started_at = time.monotonic()
                if killed == "all":
                    await asyncio.to_thread(service.kill)
                    at_the_kill = _rollout(client)
                    await asyncio.to_thread(service.__enter__)
                    assert _live_versions(service) == {at_the_kill.serving.live}
                else:
                    os.kill(rng.choice(service.workers()), signal.SIGKILL)
                await asyncio.gather(reload, return_exceptions=True)
                await asyncio.to_thread(wait_for, "one version", partial(_is_complete, client, service))
                restarts.append(time.monotonic() - started_at)
                now = _rollout(client).serving.live
                assert now in (before, other)
                assert moment != "decided" or now == other
                outcomes[f"{moment}: {'new' if now == other else 'old'}"] += 1
                await load.wait_for_acknowledged(10)
    result = await check_load(load, BUNDLES, population, traffic)
    audit = await audit_after_load(load, url, population, result)
    report(
        "kill -9 in the middle of a reload",
        killed=killed,
        seed=SEED,
        kills=len(moments),
        outcomes=dict(outcomes),
        acknowledged=len(load.acknowledged),
        statuses=dict(load.statuses),
        **traffic.figures(),
        **result.figures(),
        longest_until_all_serve_the_same_seconds=round(max(restarts), 2),
        **audit.figures(),
    )
    assert result.clean(), result
    assert audit.damaged == 0
    assert audit.max_relative_error <= 1e-5


async def _start_load(service: RunningService, users_before: int, pause_seconds: float) -> tuple[Population, Load]:
    population = Population(users_before, ITEMS, SEED)
    await population.fill(service.url)
    users = [*list(population.histories)[: short_or_long(20, 500)], *(f"new{n}" for n in range(5))]
    await asyncio.to_thread(wait_for, "all workers", lambda: service.log().count("service is ready") >= WORKERS)
    return population, Load(
        service.url, users, [f"i{row}" for row in range(1, ITEMS + 1)], SEED, pause_seconds=pause_seconds
    )


async def _reload(service: RunningService, version: str) -> tuple[int, Any]:
    client = Client(service.url)  # an httpx client would block the event loop of the load for too long
    try:
        return await client.call("POST", "/admin/reload", {"version": version})
    finally:
        client.close()


def _rollout(client: redis.Redis) -> DesiredState:
    found = decode_desired_state(client.hget("{records}:records", ROLLOUT_RECORD))
    assert found is not None
    return found


def _is_at(client: redis.Redis, moment: Moment, version: str) -> bool:
    rollout = _rollout(client)
    return moment == "asked" or rollout.serving.live == version or (moment == "coming" and rollout.coming is not None)


def _is_complete(client: redis.Redis, service: RunningService) -> bool:
    """Return True if all workers serve the desired version."""
    rollout = _rollout(client)
    return (
        rollout.coming is None
        and len(service.workers()) == WORKERS
        and _live_versions(service) == {rollout.serving.live}
    )


def _live_versions(service: RunningService) -> set[str]:
    """Return the live versions that the workers report."""
    found = set()
    with httpx.Client(base_url=service.url, headers={"X-API-Key": KEY, "Connection": "close"}, timeout=30) as client:
        for _ in range(12):
            try:
                found.add(client.get("/v1/model").json()["version"])
            except httpx.TransportError:
                found.add("")
    return found


def _during(load: Load, spans: Sequence[tuple[float, float]]) -> list[float]:
    """Return the latencies of successful requests in flight during the spans."""
    return [
        seconds
        for started_at, seconds in load.latencies
        if any(started_at <= end and started_at + seconds >= begin for begin, end in spans)
    ]


def _p99(load: Load, spans: Sequence[tuple[float, float]]) -> float:
    return round(1000 * float(np.percentile(_during(load, spans), 99)), 1)
