"""Redis has no memory left and may evict nothing: writes are refused, reads served, and nothing is half written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from redis import Redis

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.deployments import info
from tests.end_to_end.service import RunningService
from tests.faults.aftermath import evaluated
from tests.faults.client import Client
from tests.faults.form import report, times
from tests.faults.population import audit_everyone
from tests.faults.watch import Watch
from tests.faults.writers import PATIENCE_SECONDS, Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer
from tests.store.backends import RedisBackend

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261128
USERS, ITEMS, BALLAST = 24, 40, 400
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1))
ROOM_BYTES = 64 * 1024
STAYS_FULL_SECONDS = times(1, 5)
READS = (
    "/v1/users/user-0/recommendations?k=5",
    "/v1/users/user-1/events?limit=50",
    "/v1/users/user-2/audit",
    "/healthz",
)


def test_a_redis_without_memory(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    with (
        RedisServer() as redis,
        RunningService(tmp_path, redis.url, tmp_path / "bundle", RECBLR_EVENTS_KEPT="100000") as service,
    ):
        asyncio.run(_fill(redis, service))


async def _fill(redis: RedisServer, service: RunningService) -> None:
    users = [f"user-{n}" for n in range(USERS)]
    load = Load(service.url, users, [item.item_id for item in BUNDLE.items], SEED)
    watch = Watch(service.url, READS)
    recovery: list[float] = []
    client = Client(service.url)
    async with load.running():
        await load.acknowledged_more(10 * USERS)
        for _ in range(times(1, 10)):
            await _post_ballast(client)
            _limit(redis, info(redis, "memory")["used_memory"] + ROOM_BYTES)
            await _full(load)
            async with watch.running():
                await asyncio.sleep(STAYS_FULL_SECONDS)
                audited = await audit_everyone(service.url, redis.url)
                assert (audited.damaged, audited.max_relative_error <= 1e-5) == (0, True)
            recovery.append(await _served_again(load, lambda: client.call("DELETE", "/users/ballast")))
            await _full(load)
            recovery.append(await _served_again(load, lambda: asyncio.to_thread(_limit, redis, 0)))
            await load.acknowledged_more(100)
    client.close()
    comparison = await evaluated(load, [BUNDLE])
    audited = await audit_everyone(service.url, redis.url)
    report(
        "Redis without memory, noeviction",
        seed=SEED,
        times_full=len(recovery),
        acknowledged=len(load.acknowledged),
        **comparison.figures(),
        statuses=load.statuses,
        statuses_of_reads_while_full={path: watch.statuses(path) for path in READS},
        longest_recovery_seconds=round(max(recovery), 3),
        **audited.figures(),
    )
    assert comparison.clean(), comparison.examples
    assert set(load.statuses) == {"200", "503"}
    assert all(set(watch.statuses(path)) == {200} for path in READS)
    assert audited.damaged == 0
    assert audited.max_relative_error <= 1e-5
    RedisBackend(redis).check()  # logs, streams and event ids name the same events


async def _post_ballast(client: Client) -> None:
    """A user whose deletion makes room: some hundred KB, mostly of long event ids."""
    events = [
        {"user_id": "ballast", "item_id": "i1", "timestamp": 0, "event_id": f"{n:0200}"} for n in range(BALLAST)
    ]
    status, body = await client.call("POST", "/events/batch", {"events": events})
    assert status == 200, body


def _limit(redis: RedisServer, size: int) -> None:
    with Redis(port=redis.port) as admin:
        admin.config_set("maxmemory", size)


async def _full(load: Load) -> None:
    """Return once nothing has been acknowledged for half a second, and something was refused."""
    refused = len(load.refused_after)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                async with asyncio.timeout(0.5):
                    await load.acknowledged_more(1)
            except TimeoutError:
                if len(load.refused_after) > refused:
                    return


async def _served_again(load: Load, free: Callable[[], Awaitable[object]]) -> float:
    """Free memory; the seconds from then to the next acknowledgement."""
    await free()
    began = time.monotonic()
    await load.acknowledged_more(1)
    return max(0.0, time.monotonic() - began)
