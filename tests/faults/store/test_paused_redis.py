"""Redis paused under load.

Requests are refused in time, memory does not grow, and the service recovers by itself.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.harness.catalogue_traffic import CatalogueTraffic
from tests.faults.harness.load_checks import check_load
from tests.faults.harness.modes import LONG, report
from tests.faults.harness.poller import Poller
from tests.faults.harness.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261128
USERS, ITEMS, WRITERS = 40, 40, 32
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1))
PAUSE_SECONDS = 10.0 if LONG else 2.5
# The timeout of a store call is one second. The long test holds the service to it. The short one, which runs beside
# other work, only ensures that the timeouts of waiting requests do not add up.
MAX_REFUSAL_SECONDS = 1.2 if LONG else PAUSE_SECONDS
MAX_RECOVERY_SECONDS = 1.0 if LONG else 10.0
MAX_GROWTH_BYTES = 16 * 2**20

HEALTH, READY, READ = "/healthz", "/readyz", "/v1/users/user-0/recommendations?k=5"


def test_paused_redis_is_refused_in_time_and_recovered_from(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    with (
        RedisServer() as redis,
        RunningService(tmp_path, redis.url, tmp_path / "bundle", RECBLR_EVENTS_KEPT="100000") as service,
    ):
        asyncio.run(_pause(redis, service))


async def _pause(redis: RedisServer, service: RunningService) -> None:
    users = [f"user-{n}" for n in range(USERS)]
    load = Load(service.url, users, [item.item_id for item in BUNDLE.items], SEED, writers=WRITERS)
    poller = Poller(service.url, [HEALTH, READY, READ])
    traffic = CatalogueTraffic(service.url, redis.url, load.items, SEED)
    async with load.running(), traffic.running(), poller.running():
        await load.wait_for_acknowledged(1000)
        memory = [service.memory()]
        redis.pause()
        started_at = time.monotonic()
        unready = await poller.until(READY, 503, started_at)
        while time.monotonic() < started_at + PAUSE_SECONDS:
            memory.append(service.memory())
            await asyncio.sleep(0.1)
        redis.resume()
        resumed = time.monotonic()
        ready = await poller.until(READY, 200, resumed)
        await load.wait_for_acknowledged(1000)
    recovery = min(moment for moment in load.acknowledged_at if moment >= resumed) - resumed
    result = await check_load(load, [BUNDLE], None, traffic)
    p99 = float(np.percentile(load.refusal_seconds, 99))
    report(
        f"Redis paused for {PAUSE_SECONDS} s under load",
        seed=SEED,
        acknowledged=len(load.acknowledged),
        **traffic.figures(),
        **result.figures(),
        statuses=load.statuses,
        refusals_median_seconds=round(float(np.median(load.refusal_seconds)), 4),
        refusals_p99_seconds=round(p99, 3),
        refusals_longest_seconds=round(max(load.refusal_seconds), 3),
        memory_mib=round(memory[0] / 2**20, 1),
        memory_growth_mib=round((max(memory) - memory[0]) / 2**20, 1),
        health_statuses=poller.statuses(HEALTH),
        health_longest_seconds=round(poller.longest(HEALTH), 3),
        unready_after_seconds=round(unready, 2),
        recovery_seconds=round(recovery, 3),
        ready_again_after_seconds=round(ready, 3),
    )
    assert result.clean(), result.examples
    assert set(load.statuses) == {"200", "503"}
    assert set(poller.statuses(HEALTH)) == {200}
    assert set(poller.statuses(READ)) == {200, 503}
    assert max(started_at, *(moment for moment in load.acknowledged_at if moment < resumed)) < started_at + 0.5
    assert p99 < MAX_REFUSAL_SECONDS
    assert max(memory) - memory[0] < MAX_GROWTH_BYTES
    assert max(recovery, ready) < MAX_RECOVERY_SECONDS
