"""Models are exchanged under load, over and over, and killed in the middle: every answer is one model's fold."""

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
from tests.faults.aftermath import audited, evaluated
from tests.faults.client import Client
from tests.faults.form import LONG, report, times
from tests.faults.population import Population
from tests.faults.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261129
WORKERS, ITEMS = 2, 200
# Of different shapes, so that no state of the one can be taken for a state of the other.
BUNDLES = (
    bundle_of(ModelConfig(items=ITEMS, dim=16), seed=1, version="a", created="2026-01-01"),
    bundle_of(ModelConfig(items=ITEMS, dim=24, layers=1), seed=2, version="b", created="2026-02-01"),
)
SETTINGS = {"RECBLR_WORKERS": str(WORKERS), "RECBLR_EVENTS_KEPT": "100000"}

# When the kill comes: as soon as the reload is asked for, as another model is coming, as it is decided.
Moment = Literal["asked", "coming", "decided"]


def test_models_are_exchanged_under_load(tmp_path: Path) -> None:
    for bundle in BUNDLES:
        write_bundle(tmp_path / "bundles" / bundle.version, bundle)
    with RedisServer() as server, RunningService(tmp_path, server.url, tmp_path / "bundles", **SETTINGS) as service:
        asyncio.run(_exchanges(service, server.url))


async def _exchanges(service: RunningService, url: str) -> None:
    population, load = await _begin(service, times(50, 100_000), pause=0.02)
    took = []
    async with load.running():
        began = time.monotonic()
        await asyncio.sleep(times(2, 20))
        quiet = (began, time.monotonic())
        for n in range(times(4, 20)):
            began = time.monotonic()
            version = BUNDLES[n % 2].version
            status, answer = await _reload(service, version)
            took.append((began, time.monotonic()))
            assert (status, answer["model_version"]) == (200, version)
            await load.acknowledged_more(20)
            await asyncio.sleep(times(0, 1))
    comparison = await evaluated(load, BUNDLES, population)
    errors = []
    for bundle in BUNDLES:  # each model's memos
        await _reload(service, bundle.version)
        errors.append(await audited(load, url, population, comparison))
    answered_by = Counter(answer.version for answer in load.answers)
    report(
        "reload under load",
        seed=SEED,
        reloads=len(took),
        acknowledged=len(load.acknowledged),
        answers=dict(answered_by),
        statuses=dict(load.statuses),
        **comparison.figures(),
        longest_reload_seconds=round(max(end - begin for begin, end in took), 2),
        quiet_p99_ms=_p99(load, [quiet]),
        reloading_p99_ms=_p99(load, took),
        requests_while_reloading=len(_during(load, took)),
        **{f"audit_{b.version}": e.figures() for b, e in zip(BUNDLES, errors, strict=True)},
    )
    assert set(load.statuses) == {"200"}
    assert comparison.clean(), comparison
    assert set(answered_by) == {"a", "b"}
    assert all(each.damaged == 0 and each.max_relative_error <= 1e-5 for each in errors)


@pytest.mark.parametrize("whom", ["one worker", "all"])
def test_a_reload_that_is_killed_half_way(tmp_path: Path, whom: str) -> None:
    for bundle in BUNDLES:
        write_bundle(tmp_path / "bundles" / bundle.version, bundle)
    with RedisServer() as server, RunningService(tmp_path, server.url, tmp_path / "bundles", **SETTINGS) as service:
        asyncio.run(_killed_reloads(service, server.url, whom))


async def _killed_reloads(service: RunningService, url: str, whom: str) -> None:
    dice = random.Random(SEED)
    moments: Sequence[Moment] = ("asked", "coming", "decided") * 3 if LONG else ("coming",)
    population, load = await _begin(service, times(50, 5_000), pause=0.1)
    restarts: list[float] = []
    outcomes: Counter[str] = Counter()
    async with load.running():
        with redis.Redis.from_url(url, decode_responses=True) as client:
            for moment in moments:
                before = _rollout(client).serving.live
                other = "b" if before == "a" else "a"
                reload = asyncio.create_task(_reload(service, other))
                await asyncio.to_thread(wait_for, moment, partial(_has_come, client, moment, other))
                began = time.monotonic()
                if whom == "all":
                    await asyncio.to_thread(service.kill)
                    at_the_kill = _rollout(client)
                    await asyncio.to_thread(service.__enter__)
                    assert _served(service) == {at_the_kill.serving.live}
                else:
                    os.kill(dice.choice(service.workers()), signal.SIGKILL)
                await asyncio.gather(reload, return_exceptions=True)
                await asyncio.to_thread(wait_for, "one model", partial(_is_settled, client, service))
                restarts.append(time.monotonic() - began)
                now = _rollout(client).serving.live
                assert now in (before, other)
                assert moment != "decided" or now == other
                outcomes[f"{moment}: {'new' if now == other else 'old'}"] += 1
                await load.acknowledged_more(10)
    comparison = await evaluated(load, BUNDLES, population)
    everyone = await audited(load, url, population, comparison)
    report(
        "kill -9 in the middle of a reload",
        whom=whom,
        seed=SEED,
        kills=len(moments),
        outcomes=dict(outcomes),
        acknowledged=len(load.acknowledged),
        statuses=dict(load.statuses),
        **comparison.figures(),
        longest_until_all_serve_the_same_seconds=round(max(restarts), 2),
        **everyone.figures(),
    )
    assert comparison.clean(), comparison
    assert everyone.damaged == 0
    assert everyone.max_relative_error <= 1e-5


async def _begin(service: RunningService, users_before: int, pause: float) -> tuple[Population, Load]:
    population = Population(users_before, ITEMS, SEED)
    await population.fill(service.url)
    users = [*list(population.histories)[: times(20, 500)], *(f"new{n}" for n in range(5))]
    await asyncio.to_thread(wait_for, "all workers", lambda: service.log().count("service is ready") >= WORKERS)
    return population, Load(service.url, users, [f"i{row}" for row in range(1, ITEMS + 1)], SEED, pause=pause)


async def _reload(service: RunningService, version: str) -> tuple[int, Any]:
    client = Client(service.url)  # making a larger one would hold the load's own event loop up
    try:
        return await client.call("POST", "/admin/reload", {"version": version})
    finally:
        client.close()


def _rollout(client: redis.Redis) -> DesiredState:
    found = decode_desired_state(client.hget("{records}:records", ROLLOUT_RECORD))
    assert found is not None
    return found


def _has_come(client: redis.Redis, moment: Moment, version: str) -> bool:
    rollout = _rollout(client)
    return moment == "asked" or rollout.serving.live == version or (moment == "coming" and rollout.coming is not None)


def _is_settled(client: redis.Redis, service: RunningService) -> bool:
    """Nothing is coming, and all workers are there and serve what the note says."""
    rollout = _rollout(client)
    return rollout.coming is None and len(service.workers()) == WORKERS and _served(service) == {rollout.serving.live}


def _served(service: RunningService) -> set[str]:
    """By the workers that answer: each call comes on a connection of its own."""
    found = set()
    with httpx.Client(base_url=service.url, headers={"X-API-Key": KEY, "Connection": "close"}, timeout=30) as client:
        for _ in range(12):
            try:
                found.add(client.get("/v1/model").json()["version"])
            except httpx.TransportError:
                found.add("")
    return found


def _during(load: Load, spans: Sequence[tuple[float, float]]) -> list[float]:
    """Seconds of each acknowledged request that was under way in one of these spans."""
    return [
        seconds
        for began, seconds in load.took
        if any(began <= end and began + seconds >= begin for begin, end in spans)
    ]


def _p99(load: Load, spans: Sequence[tuple[float, float]]) -> float:
    return round(1000 * float(np.percentile(_during(load, spans), 99)), 1)
