"""Redis without free memory and without eviction.

Writes are refused, reads are served, and no write is partial.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from redis import Redis

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.deployments import info
from tests.end_to_end.service import RunningService
from tests.faults.harness.catalogue_traffic import CatalogueTraffic
from tests.faults.harness.client import Client
from tests.faults.harness.load_checks import check_load
from tests.faults.harness.modes import report, short_or_long
from tests.faults.harness.poller import Poller
from tests.faults.harness.population import audit_all_users
from tests.faults.harness.writers import TIMEOUT_SECONDS, Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer
from tests.store.backends import RedisBackend

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261128
USERS, ITEMS, BALLAST = 24, 40, 400
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1))
FREE_BYTES = 64 * 1024
FULL_SECONDS = short_or_long(1, 5)
READS = (
    "/v1/users/user-0/recommendations?k=5",
    "/v1/users/user-1/events?limit=50",
    "/v1/users/user-2/audit",
    "/healthz",
)


def test_full_redis_refuses_writes_and_serves_reads(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    with (
        RedisServer() as redis,
        RunningService(tmp_path, redis.url, tmp_path / "bundle", RECBLR_EVENTS_KEPT="100000") as service,
    ):
        asyncio.run(_fill_repeatedly(redis, service))


async def _fill_repeatedly(redis: RedisServer, service: RunningService) -> None:
    users = [f"user-{n}" for n in range(USERS)]
    load = Load(service.url, users, [item.item_id for item in BUNDLE.items], SEED)
    poller = Poller(service.url, READS)
    recovery: list[float] = []
    client = Client(service.url)
    traffic = CatalogueTraffic(service.url, redis.url, load.items, SEED)
    async with load.running(), traffic.running():
        await load.wait_for_acknowledged(10 * USERS)
        for _ in range(short_or_long(1, 10)):
            await _post_ballast(client)
            _set_maxmemory(redis, info(redis, "memory")["used_memory"] + FREE_BYTES)
            await _wait_until_full(load)
            async with poller.running():
                await asyncio.sleep(FULL_SECONDS)
                assert await _event_log(service) == "full"
                audit = await audit_all_users(service.url, redis.url)
                assert (audit.damaged, audit.max_relative_error <= 1e-5) == (0, True)
            recovery.append(await _recovery_seconds(load, lambda: client.call("DELETE", "/users/ballast")))
            await _wait_until_full(load)
            recovery.append(await _recovery_seconds(load, lambda: asyncio.to_thread(_set_maxmemory, redis, 0)))
            await load.wait_for_acknowledged(100)
    client.close()
    result = await check_load(load, [BUNDLE], None, traffic)
    audit = await audit_all_users(service.url, redis.url)
    report(
        "Redis without memory, noeviction",
        seed=SEED,
        times_full=len(recovery),
        acknowledged=len(load.acknowledged),
        **traffic.figures(),
        **result.figures(),
        statuses=load.statuses,
        statuses_of_reads_while_full={path: poller.statuses(path) for path in READS},
        longest_recovery_seconds=round(max(recovery), 3),
        **audit.figures(),
    )
    assert result.clean(), result.examples
    assert set(load.statuses) == {"200", "503"}
    assert all(set(poller.statuses(path)) == {200} for path in READS)
    assert audit.damaged == 0
    assert audit.max_relative_error <= 1e-5
    RedisBackend(redis).check()  # logs, streams and event ids name the same events


async def _event_log(service: RunningService) -> object:
    """State of the event log, as readiness reports it."""
    answer = await asyncio.to_thread(httpx.get, f"{service.url}/readyz", timeout=TIMEOUT_SECONDS)
    assert answer.status_code == 200
    return answer.json()["event_log"]


async def _post_ballast(client: Client) -> None:
    """Record a user whose deletion frees some hundred KB, mostly event ids."""
    events = [
        {"user_id": "ballast", "item_id": "i1", "timestamp": 0, "event_id": f"{n:0200}"} for n in range(BALLAST)
    ]
    status, body = await client.call("POST", "/events/batch", {"events": events})
    assert status == 200, body


def _set_maxmemory(redis: RedisServer, size: int) -> None:
    with Redis(port=redis.port) as admin:
        admin.config_set("maxmemory", size)


async def _wait_until_full(load: Load) -> None:
    """Wait for refusals, and half a second without an acknowledgement."""
    refused = len(load.refusal_seconds)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            try:
                async with asyncio.timeout(0.5):
                    await load.wait_for_acknowledged(1)
            except TimeoutError:
                if len(load.refusal_seconds) > refused:
                    return


async def _recovery_seconds(load: Load, free_memory: Callable[[], Awaitable[object]]) -> float:
    """Free memory; return the seconds until the next acknowledgement."""
    await free_memory()
    started_at = time.monotonic()
    await load.wait_for_acknowledged(1)
    return max(0.0, time.monotonic() - started_at)
