"""Workers and Redis killed under load; every event is counted once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.deployments import wait_for
from tests.end_to_end.service import RunningService
from tests.faults.harness.attributed_counts import check_counts
from tests.faults.harness.modes import short_or_long
from tests.faults.harness.shoppers import Shoppers
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = pytest.mark.faults

SEED = 20261130
WORKERS, ITEMS = 3, 100
ID_KEY = "key-of-the-ids-of-this-test-alone-1"
SETTINGS = {"RECBLR_EVENTS_KEPT": "100000", "RECBLR_ID_KEYS": ID_KEY}
USERS = [f"user{number}" for number in range(short_or_long(30, 500))]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle", bundle_of(ModelConfig(items=ITEMS, dim=16)))
    return tmp_path / "bundle"


@pytest.mark.parametrize("backend", ["redis", "sqlite"])
def test_counts_equal_a_replay_of_the_log_after_kills_of_workers(tmp_path: Path, bundle: Path, backend: str) -> None:
    with RedisServer() as server:
        url = server.url if backend == "redis" else f"sqlite:///{tmp_path}/log.db"
        with RunningService(tmp_path, url, bundle, **SETTINGS, RECBLR_WORKERS=str(WORKERS)) as service:
            asyncio.run(_kill_workers(service, backend))


async def _kill_workers(service: RunningService, backend: str) -> None:
    kills, rng = short_or_long(2, 40), random.Random(SEED)
    shoppers = Shoppers(service.url, USERS, SEED)
    await _wait_until_ready(service, WORKERS)
    killed = 0
    async with shoppers.running():
        # A kill may hit a worker without a request in flight. If none was hit, up to 20 more workers are killed.
        while killed < kills or not (shoppers.repeated or killed == kills + 20):
            await shoppers.wait_for_answered(rng.randrange(30, 150))
            os.kill(rng.choice(service.workers()), signal.SIGKILL)
            killed += 1
            await _wait_until_ready(service, WORKERS + killed)
    fault = "kill -9 of a random worker while events with recommendation ids arrive"
    await check_counts(shoppers, ID_KEY, fault, backend=backend, seed=SEED, kills=killed)
    assert shoppers.repeated  # some kill interrupted a request


async def _wait_until_ready(service: RunningService, starts: int) -> None:
    """Wait for `starts` starts of workers, including those killed later."""

    def ready() -> bool:
        return service.log().count("service is ready") >= starts and len(service.workers()) == WORKERS

    await asyncio.to_thread(wait_for, f"{starts} starts of workers", ready)


def test_counts_equal_a_replay_of_the_log_after_kills_of_redis(tmp_path: Path, bundle: Path) -> None:
    with RedisServer() as server, RunningService(tmp_path, server.url, bundle, **SETTINGS) as service:
        asyncio.run(_kill_redis(service, server))


async def _kill_redis(service: RunningService, server: RedisServer) -> None:
    kills, rng = short_or_long(2, 20), random.Random(SEED)
    shoppers = Shoppers(service.url, USERS, SEED)
    async with shoppers.running():
        for _ in range(kills):
            await shoppers.wait_for_answered(rng.randrange(50, 200))
            server.kill()
            await asyncio.sleep(rng.uniform(0.0, 0.5))
            await asyncio.to_thread(server.start)
        await shoppers.wait_for_answered(50)
    fault = "kill -9 of Redis while events with recommendation ids arrive"
    await check_counts(shoppers, ID_KEY, fault, appendfsync="always", seed=SEED, kills=kills)


def test_counts_equal_a_replay_of_the_log_after_restarts_of_one_machine_after_the_other(
    tmp_path: Path, bundle: Path
) -> None:
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    with RedisServer() as server:
        one, other = (RunningService(folder, server.url, bundle, **SETTINGS) for folder in folders)
        with one, other:
            asyncio.run(_restart_alternately(one, other))


async def _restart_alternately(one: RunningService, other: RunningService) -> None:
    """Restart both services, while users shop at both."""
    at_one, at_other = Shoppers(one.url, USERS[::2], SEED), Shoppers(other.url, USERS[1::2], SEED)
    restarts = short_or_long(1, 10)
    async with at_one.running(), at_other.running():
        for n in range(restarts):
            service, shoppers = ((one, at_other), (other, at_one))[n % 2]
            await asyncio.gather(at_one.wait_for_answered(50), at_other.wait_for_answered(50))
            assert await asyncio.to_thread(service.stop) == 0
            await shoppers.wait_for_answered(50)
            await asyncio.to_thread(service.start)
    both = Shoppers.joined(at_one, at_other)
    fault = "restart of one machine after the other while events with recommendation ids arrive"
    await check_counts(both, ID_KEY, fault, seed=SEED, restarts=restarts)
