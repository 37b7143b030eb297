"""Workers killed under load; every event is counted once."""

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
from tests.faults.harness.modes import report, short_or_long
from tests.faults.harness.shoppers import Shoppers, replayed_counts, served_counts
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = pytest.mark.faults

SEED = 20261130
WORKERS, ITEMS = 3, 100
ID_KEY = "key-of-the-ids-of-this-test-alone-1"


@pytest.mark.parametrize("backend", ["redis", "sqlite"])
def test_counts_equal_a_replay_of_the_log_after_kills(tmp_path: Path, backend: str) -> None:
    write_bundle(tmp_path / "bundle", bundle_of(ModelConfig(items=ITEMS, dim=16)))
    settings = {"RECBLR_WORKERS": str(WORKERS), "RECBLR_EVENTS_KEPT": "100000", "RECBLR_ID_KEYS": ID_KEY}
    with RedisServer() as server:
        url = server.url if backend == "redis" else f"sqlite:///{tmp_path}/log.db"
        with RunningService(tmp_path, url, tmp_path / "bundle", **settings) as service:
            asyncio.run(_kill_workers(service, backend))


async def _kill_workers(service: RunningService, backend: str) -> None:
    kills, rng = short_or_long(2, 40), random.Random(SEED)
    shoppers = Shoppers(service.url, [f"user{number}" for number in range(short_or_long(30, 500))], SEED)
    await _wait_until_ready(service, WORKERS)
    killed = 0
    async with shoppers.running():
        # A kill may hit a worker without a request in flight. If none was hit, up to 20 more workers are killed.
        while killed < kills or not (shoppers.repeated or killed == kills + 20):
            await shoppers.wait_for_answered(rng.randrange(30, 150))
            os.kill(rng.choice(service.workers()), signal.SIGKILL)
            killed += 1
            await _wait_until_ready(service, WORKERS + killed)
    expected = await replayed_counts(service.url, shoppers.users, ID_KEY.encode())
    counted = await served_counts(service.url)
    report(
        "kill -9 of a random worker while events with recommendation ids arrive",
        backend=backend,
        seed=SEED,
        kills=killed,
        requests=shoppers.answered,
        repeated=shoppers.repeated,
        forged=shoppers.forged,
        undone=shoppers.undone,
        counted={name: sum(n for (*_, each), n in counted.items() if each == name) for name in ("clicks", "value")},
        differences=len((expected - counted) + (counted - expected)),
    )
    assert not shoppers.unexpected, shoppers.unexpected[:5]
    assert shoppers.repeated  # some kill interrupted a request
    assert counted == +expected
    assert sum(counted.values())


async def _wait_until_ready(service: RunningService, starts: int) -> None:
    """Wait for `starts` starts of workers, including those killed later."""

    def ready() -> bool:
        return service.log().count("service is ready") >= starts and len(service.workers()) == WORKERS

    await asyncio.to_thread(wait_for, f"{starts} starts of workers", ready)
