"""Redis hangs under load: refusals within the budget and then at once, memory flat, service again by itself."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.aftermath import evaluated
from tests.faults.form import LONG, report
from tests.faults.watch import Watch
from tests.faults.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261128
USERS, ITEMS, WRITERS = 40, 40, 32
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1))
PAUSE_SECONDS = 10.0 if LONG else 2.5
# A call of the store may take a second. The long form holds the service to that; in the suite, which runs beside
# other work, what must not happen is that requests wait for each other's seconds.
BUDGET_SECONDS = 1.2 if LONG else PAUSE_SECONDS
RECOVERY_SECONDS = 1.0 if LONG else 10.0
GROWTH_BYTES = 16 * 2**20

HEALTH, READY, READ = "/healthz", "/readyz", "/v1/users/user-0/recommendations?k=5"


def test_a_redis_that_hangs(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    with (
        RedisServer() as redis,
        RunningService(tmp_path, redis.url, tmp_path / "bundle", RECBLR_EVENTS_KEPT="100000") as service,
    ):
        asyncio.run(_hang(redis, service))


async def _hang(redis: RedisServer, service: RunningService) -> None:
    users = [f"user-{n}" for n in range(USERS)]
    load = Load(service.url, users, [item.item_id for item in BUNDLE.items], SEED, writers=WRITERS)
    watch = Watch(service.url, [HEALTH, READY, READ])
    async with load.running(), watch.running():
        await load.acknowledged_more(1000)
        memory = [service.memory()]
        redis.pause()
        began = time.monotonic()
        unready = await watch.until(READY, 503, began)
        while time.monotonic() < began + PAUSE_SECONDS:
            memory.append(service.memory())
            await asyncio.sleep(0.1)
        redis.resume()
        resumed = time.monotonic()
        ready = await watch.until(READY, 200, resumed)
        await load.acknowledged_more(1000)
    recovery = min(moment for moment in load.acknowledged_at if moment >= resumed) - resumed
    comparison = await evaluated(load, [BUNDLE])
    p99 = float(np.percentile(load.refused_after, 99))
    report(
        f"Redis paused for {PAUSE_SECONDS} s under load",
        seed=SEED,
        acknowledged=len(load.acknowledged),
        **comparison.figures(),
        statuses=load.statuses,
        refusals_median_seconds=round(float(np.median(load.refused_after)), 4),
        refusals_p99_seconds=round(p99, 3),
        refusals_longest_seconds=round(max(load.refused_after), 3),
        memory_mib=round(memory[0] / 2**20, 1),
        memory_growth_mib=round((max(memory) - memory[0]) / 2**20, 1),
        health_statuses=watch.statuses(HEALTH),
        health_longest_seconds=round(watch.longest(HEALTH), 3),
        unready_after_seconds=round(unready, 2),
        recovery_seconds=round(recovery, 3),
        ready_again_after_seconds=round(ready, 3),
    )
    assert comparison.clean(), comparison.examples
    assert set(load.statuses) == {"200", "503"}
    assert set(watch.statuses(HEALTH)) == {200}
    assert set(watch.statuses(READ)) == {200, 503}
    assert max(began, *(moment for moment in load.acknowledged_at if moment < resumed)) < began + 0.5
    assert p99 < BUDGET_SECONDS
    assert max(memory) - memory[0] < GROWTH_BYTES
    assert max(recovery, ready) < RECOVERY_SECONDS
