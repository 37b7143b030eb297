"""Reloads under load: every answer is one model's replay."""

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
from tests.faults.client import Client
from tests.faults.mode import LONG, report, short_or_long
from tests.faults.population import Population
from tests.faults.verification import audit_all, check_load
from tests.faults.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261129
WORKERS, ITEMS = 2, 200
# Different shapes, so that a state of one model cannot pass for a state of the other.
BUNDLES = (
    bundle_of(ModelConfig(items=ITEMS, dim=16), seed=1, version="a", created="2026-01-01"),
    bundle_of(ModelConfig(items=ITEMS, dim=24, layers=1), seed=2, version="b", created="2026-02-01"),
)
SETTINGS = {"RECBLR_WORKERS": str(WORKERS), "RECBLR_EVENTS_KEPT": "100000"}

# When the kill happens: after the request, after the new model is announced, after it is live.
Moment = Literal["asked", "coming", "decided"]


def test_reload_under_load_fails_no_request(tmp_path: Path) -> None:
    for bundle in BUNDLES:
        write_bundle(tmp_path / "bundles" / bundle.version, bundle)
    with RedisServer() as server, RunningService(tmp_path, server.url, tmp_path / "bundles", **SETTINGS) as service:
        asyncio.run(_reload_under_load(service, server.url))


async def _reload_under_load(service: RunningService, url: str) -> None:
    population, load = await _begin(service, short_or_long(50, 100_000), pause=0.02)
    durations = []
    async with load.running():
        started_at = time.monotonic()
        await asyncio.sleep(short_or_long(2, 20))
        baseline = (started_at, time.monotonic())
        for n in range(short_or_long(4, 20)):
            started_at = time.monotonic()
            version = BUNDLES[n % 2].version
            status, answer = await _reload(service, version)
            durations.append((started_at, time.monotonic()))
            assert (status, answer["model_version"]) == (200, version)
            await load.acknowledged_more(20)
            await asyncio.sleep(short_or_long(0, 1))
    findings = await check_load(load, BUNDLES, population)
    audits_by_model = []
    for bundle in BUNDLES:  # the snapshots of each model
        await _reload(service, bundle.version)
        audits_by_model.append(await audit_all(load, url, population, findings))
    answered_by = Counter(answer.version for answer in load.answers)
    report(
        "reload under load",
        seed=SEED,
        reloads=len(durations),
        acknowledged=len(load.acknowledged),
        answers=dict(answered_by),
        statuses=dict(load.statuses),
        **findings.figures(),
        longest_reload_seconds=round(max(end - begin for begin, end in durations), 2),
        quiet_p99_ms=_p99(load, [baseline]),
        reloading_p99_ms=_p99(load, durations),
        requests_while_reloading=len(_requests_during(load, durations)),
        **{f"audit_{b.version}": e.figures() for b, e in zip(BUNDLES, audits_by_model, strict=True)},
    )
    assert set(load.statuses) == {"200"}
    assert findings.clean(), findings
    assert set(answered_by) == {"a", "b"}
    assert all(each.damaged == 0 and each.max_relative_error <= 1e-5 for each in audits_by_model)


@pytest.mark.parametrize("target", ["one worker", "all"])
def test_reload_killed_midway_ends_on_one_model(tmp_path: Path, target: str) -> None:
    for bundle in BUNDLES:
        write_bundle(tmp_path / "bundles" / bundle.version, bundle)
    with RedisServer() as server, RunningService(tmp_path, server.url, tmp_path / "bundles", **SETTINGS) as service:
        asyncio.run(_kill_during_reloads(service, server.url, target))


async def _kill_during_reloads(service: RunningService, url: str, target: str) -> None:
    rng = random.Random(SEED)
    moments: Sequence[Moment] = ("asked", "coming", "decided") * 3 if LONG else ("coming",)
    population, load = await _begin(service, short_or_long(50, 5_000), pause=0.1)
    restarts: list[float] = []
    outcomes: Counter[str] = Counter()
    async with load.running():
        with redis.Redis.from_url(url, decode_responses=True) as client:
            for moment in moments:
                before = _desired_state(client).serving.live
                other = "b" if before == "a" else "a"
                reload = asyncio.create_task(_reload(service, other))
                await asyncio.to_thread(wait_for, moment, partial(_has_reached, client, moment, other))
                started_at = time.monotonic()
                if target == "all":
                    await asyncio.to_thread(service.kill)
                    at_the_kill = _desired_state(client)
                    await asyncio.to_thread(service.__enter__)
                    assert _served(service) == {at_the_kill.serving.live}
                else:
                    os.kill(rng.choice(service.workers()), signal.SIGKILL)
                await asyncio.gather(reload, return_exceptions=True)
                await asyncio.to_thread(wait_for, "one model", partial(_is_finished, client, service))
                restarts.append(time.monotonic() - started_at)
                now = _desired_state(client).serving.live
                assert now in (before, other)
                assert moment != "decided" or now == other
                outcomes[f"{moment}: {'new' if now == other else 'old'}"] += 1
                await load.acknowledged_more(10)
    findings = await check_load(load, BUNDLES, population)
    audits = await audit_all(load, url, population, findings)
    report(
        "kill -9 in the middle of a reload",
        target=target,
        seed=SEED,
        kills=len(moments),
        outcomes=dict(outcomes),
        acknowledged=len(load.acknowledged),
        statuses=dict(load.statuses),
        **findings.figures(),
        longest_until_all_serve_the_same_seconds=round(max(restarts), 2),
        **audits.figures(),
    )
    assert findings.clean(), findings
    assert audits.damaged == 0
    assert audits.max_relative_error <= 1e-5


async def _begin(service: RunningService, users_before: int, pause: float) -> tuple[Population, Load]:
    population = Population(users_before, ITEMS, SEED)
    await population.fill(service.url)
    users = [*list(population.histories)[: short_or_long(20, 500)], *(f"new{n}" for n in range(5))]
    await asyncio.to_thread(wait_for, "all workers", lambda: service.log().count("service is ready") >= WORKERS)
    return population, Load(service.url, users, [f"i{row}" for row in range(1, ITEMS + 1)], SEED, pause=pause)


async def _reload(service: RunningService, version: str) -> tuple[int, Any]:
    client = Client(service.url)  # an httpx client would delay the load's event loop
    try:
        return await client.call("POST", "/admin/reload", {"version": version})
    finally:
        client.close()


def _desired_state(client: redis.Redis) -> DesiredState:
    found = decode_desired_state(client.hget("{records}:records", ROLLOUT_RECORD))
    assert found is not None
    return found


def _has_reached(client: redis.Redis, moment: Moment, version: str) -> bool:
    desired_state = _desired_state(client)
    return (
        moment == "asked"
        or desired_state.serving.live == version
        or (moment == "coming" and desired_state.coming is not None)
    )


def _is_finished(client: redis.Redis, service: RunningService) -> bool:
    """Whether all workers serve the live model, without a rollout."""
    desired_state = _desired_state(client)
    return (
        desired_state.coming is None
        and len(service.workers()) == WORKERS
        and _served(service) == {desired_state.serving.live}
    )


def _served(service: RunningService) -> set[str]:
    """Return the versions that the workers serve.

    Each request has a connection of its own, so that all workers are asked.
    """
    found = set()
    with httpx.Client(base_url=service.url, headers={"X-API-Key": KEY, "Connection": "close"}, timeout=30) as client:
        for _ in range(12):
            try:
                found.add(client.get("/v1/model").json()["version"])
            except httpx.TransportError:
                found.add("")
    return found


def _requests_during(load: Load, spans: Sequence[tuple[float, float]]) -> list[float]:
    """Return the durations of the acknowledged requests during `spans`."""
    return [
        seconds
        for started_at, seconds in load.durations
        if any(started_at <= end and started_at + seconds >= begin for begin, end in spans)
    ]


def _p99(load: Load, spans: Sequence[tuple[float, float]]) -> float:
    return round(1000 * float(np.percentile(_requests_during(load, spans), 99)), 1)
