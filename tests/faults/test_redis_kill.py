"""Redis is killed under load and started again, over and over; the service goes on by itself."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.deployments import wait_for
from tests.end_to_end.service import RunningService
from tests.faults.aftermath import audited, evaluated
from tests.faults.form import LONG, report, times
from tests.faults.population import Population
from tests.faults.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = pytest.mark.faults

SEED = 20261128
ITEMS = 200
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=16))
RECOVERY_SECONDS = 2.0
READY = "service is ready"


def test_redis_is_killed_under_load(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    with (
        RedisServer() as server,
        RunningService(tmp_path, server.url, tmp_path / "bundle", RECBLR_EVENTS_KEPT="100000") as service,
    ):
        asyncio.run(_ordeal(service, server))


def test_workers_that_die_while_redis_is_away_come_back_with_it(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    settings = {"RECBLR_WORKERS": "2", "RECBLR_EVENTS_KEPT": "100000"}
    with RedisServer() as server, RunningService(tmp_path, server.url, tmp_path / "bundle", **settings) as service:
        asyncio.run(_workers_die(service, server))


async def _workers_die(service: RunningService, server: RedisServer) -> None:
    kills = times(1, 10)
    load = Load(service.url, ["one", "two"], [f"i{row}" for row in range(1, ITEMS + 1)], SEED, pause=0.01)
    recoveries = []
    await asyncio.to_thread(wait_for, "both workers", partial(_started, service, 2))
    async with load.running():
        for kill in range(kills):
            await load.acknowledged_more(100)
            server.kill()
            await _kill_workers(service)
            await asyncio.to_thread(server.start)
            ready = time.monotonic()
            before = len(load.acknowledged_at)
            await load.acknowledged_more(1)
            recoveries.append(load.acknowledged_at[before] - ready)
            await asyncio.to_thread(wait_for, "both workers", partial(_started, service, 2 * (kill + 2)))
    comparison = await evaluated(load, [BUNDLE])
    report(
        "kill -9 of Redis and of both workers",
        seed=SEED,
        kills=kills,
        acknowledged=len(load.acknowledged),
        **comparison.figures(),
        longest_recovery_seconds=round(max(recoveries), 3),
    )
    assert comparison.clean(), comparison
    server.kill()
    await _kill_workers(service)
    assert await asyncio.to_thread(service.stop) == 0  # who waits does not keep a stop waiting


async def _kill_workers(service: RunningService) -> None:
    """Return once new ones have tried to start, in vain."""
    for pid in service.workers():
        os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(wait_for, "new workers", partial(_waiting, service, 2))


def _started(service: RunningService, starts: int) -> bool:
    """Whether workers have become ready so many times."""
    return service.log().count(READY) >= starts


def _waiting(service: RunningService, workers: int) -> bool:
    """Whether so many workers have been waiting for Redis for a while since the last time that all were ready."""
    lines = service.log().rpartition(READY)[2].splitlines()
    return len(service.workers()) == workers and sum("cannot reach the event log" in line for line in lines) >= 4


async def _ordeal(service: RunningService, server: RedisServer) -> None:
    kills, dice = times(3, 20), random.Random(SEED)
    population = Population(times(100, 100_000), ITEMS, SEED)
    await population.fill(service.url)
    users = [*list(population.histories)[: times(20, 500)], *(f"new{n}" for n in range(times(5, 50)))]
    load = Load(service.url, users, [f"i{row}" for row in range(1, ITEMS + 1)], SEED, pause=0.01)
    loading, recoveries = [], []
    async with load.running():
        for _ in range(kills):
            await load.acknowledged_more(dice.randrange(50, 300))
            server.kill()
            await asyncio.sleep(dice.uniform(0.0, 1.5))
            began = time.monotonic()
            await asyncio.to_thread(server.start)
            ready = time.monotonic()
            before = len(load.acknowledged_at)
            await load.acknowledged_more(1)
            loading.append(ready - began)
            recoveries.append(load.acknowledged_at[before] - ready)
    comparison = await evaluated(load, [BUNDLE], population)
    everyone = await audited(load, server.url, population, comparison)
    report(
        "kill -9 of Redis under load",
        appendfsync="always",
        seed=SEED,
        kills=kills,
        acknowledged=len(load.acknowledged),
        answers=len(load.answers),
        statuses=dict(load.statuses),
        **comparison.figures(),
        longest_start_of_redis_seconds=round(max(loading), 2),
        longest_recovery_seconds=round(max(recoveries), 3),
        **everyone.figures(),
    )
    assert comparison.clean(), comparison
    assert load.statuses["503"]  # or nobody noticed
    assert everyone.damaged == 0
    assert everyone.max_relative_error <= 1e-5
    # A figure of the promise, on a machine with nothing else to do.
    assert not LONG or max(recoveries) < RECOVERY_SECONDS
