"""Redis is killed under load and started again, over and over; the service goes on by itself."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from model.artifact import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.aftermath import audited, judged
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


def test_redis_is_killed_under_load(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    with (
        RedisServer() as server,
        RunningService(tmp_path, server.url, tmp_path / "bundle", RECBLR_EVENTS_KEPT="100000") as service,
    ):
        asyncio.run(_ordeal(service, server))


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
    verdict = await judged(load, [BUNDLE], population)
    everyone = await audited(load, server.url, population)
    report(
        "kill -9 of Redis under load",
        appendfsync="always",
        seed=SEED,
        kills=kills,
        acknowledged=len(load.acknowledged),
        answers=len(load.answers),
        statuses=dict(load.statuses),
        **verdict.figures(),
        longest_start_of_redis_seconds=round(max(loading), 2),
        longest_recovery_seconds=round(max(recoveries), 3),
        **everyone.figures(),
    )
    assert verdict.clean(), verdict
    assert load.statuses["503"]  # or nobody noticed
    assert everyone.damaged == 0
    assert everyone.max_relative_error <= 1e-5
    # A figure of the promise, on a machine with nothing else to do.
    assert not LONG or max(recoveries) < RECOVERY_SECONDS
