"""New items through killed workers, a killed Redis, reloads and a failover.

No item, vector or event is lost, all workers agree, and each user's state is the replay with the list's vectors.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from model.bundle.bundle import Bundle, write_bundle
from model.config import ModelConfig
from tests.deployments import SentinelServers, wait_for
from tests.end_to_end.service import RunningService
from tests.faults.harness.client import Client
from tests.faults.harness.lagging_link import LaggingPair
from tests.faults.harness.modes import report, short_or_long
from tests.faults.harness.new_item_traffic import NewItemTraffic, later_bundle, with_categories
from tests.faults.harness.population import audit_all_users
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261201
WORKERS, ITEMS, KNOWN_LATER = 2, 60, 10
FIRST = with_categories(bundle_of(ModelConfig(items=ITEMS, dim=16), seed=1, version="a"), seed=1)
SECOND = later_bundle(with_categories(replace(FIRST), seed=2), KNOWN_LATER, "b", "2026-02-01")
TRAINED = [item.item_id for item in FIRST.items]
SETTINGS = {"RECBLR_WORKERS": str(WORKERS), "RECBLR_EVENTS_KEPT": "100000"}
READY = "service is ready"


@pytest.mark.parametrize("backend", ["redis", "sqlite"])
def test_killed_processes_and_reloads_keep_new_items(tmp_path: Path, backend: str) -> None:
    for bundle in (FIRST, SECOND):
        write_bundle(tmp_path / "bundles" / bundle.version, bundle)
    with RedisServer() as server:
        url = server.url if backend == "redis" else f"sqlite:///{tmp_path}/log.db"
        with RunningService(tmp_path, url, tmp_path / "bundles", **SETTINGS) as service:
            asyncio.run(_break(service, url, server if backend == "redis" else None))


async def _break(service: RunningService, url: str, server: RedisServer | None) -> None:
    rounds, rng = short_or_long(1, 10), random.Random(SEED)
    traffic = NewItemTraffic(service.url, TRAINED, SEED)
    await _wait_until_ready(service, WORKERS)
    await _serve(service, FIRST)
    async with traffic.running():
        for number in range(rounds):
            await traffic.wait_for_items(8)
            os.kill(rng.choice(service.workers()), signal.SIGKILL)
            await traffic.wait_for_items(8)
            await _wait_until_ready(service, WORKERS + number + 1)
            if server is not None:
                server.kill()
                await asyncio.to_thread(server.start)
                await traffic.wait_for_items(8)
            for bundle in (SECOND, FIRST):  # a swap and a rollback
                await _serve(service, bundle)
                await traffic.wait_for_items(4)
    for bundle in (FIRST, SECOND):
        await _serve(service, bundle)
        await _check(service, url, bundle, traffic, f"kill -9 and reloads beside new items, {url.partition(':')[0]}")


def test_failover_with_wait_keeps_new_items(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", FIRST)
    with SentinelServers(failover_timeout_ms=600_000, sentinels=1) as servers, ExitStack() as stack:
        pair = LaggingPair(servers, stack)
        settings = SETTINGS | {"RECBLR_REDIS_WAIT": "1"}
        service = stack.enter_context(RunningService(tmp_path, servers.url, tmp_path / "bundle", **settings))
        asyncio.run(_fail_over(service, servers.url, pair))


async def _fail_over(service: RunningService, url: str, pair: LaggingPair) -> None:
    traffic = NewItemTraffic(service.url, TRAINED, SEED)
    await _wait_until_ready(service, WORKERS)
    async with traffic.running():
        for _ in range(short_or_long(1, 5)):
            await traffic.wait_for_items(10)
            await asyncio.to_thread(pair.fail_over)
            await asyncio.to_thread(pair.restart)
            await traffic.wait_for_items(10)
    await _check(service, url, FIRST, traffic, "failover beside new items, RECBLR_REDIS_WAIT=1")


async def _check(service: RunningService, url: str, bundle: Bundle, traffic: NewItemTraffic, fault: str) -> None:
    result = await traffic.check(url, bundle)
    audit = await audit_all_users(service.url, url)
    report(fault, model=bundle.version, seed=SEED, **traffic.figures(), **result.figures(), **audit.figures())
    assert result.clean(), result
    assert audit.snapshots > 0
    assert audit.damaged == audit.inexact == 0
    assert audit.max_relative_error <= 1e-5


async def _serve(service: RunningService, bundle: Bundle) -> None:
    client = Client(service.url)
    status, answer = await client.call("POST", "/admin/reload", {"version": bundle.version})
    client.close()
    assert (status, answer["model_version"]) == (200, bundle.version), answer


async def _wait_until_ready(service: RunningService, starts: int) -> None:
    """Wait for `starts` starts of workers, including those killed later."""

    def ready() -> bool:
        return service.log().count(READY) >= starts and len(service.workers()) == WORKERS

    await asyncio.to_thread(wait_for, f"{starts} starts of workers", ready)
