"""Workers killed under load; no event is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.deployments import wait_for
from tests.end_to_end.service import RunningService
from tests.faults.harness.catalogue_traffic import CatalogueTraffic
from tests.faults.harness.load_checks import audit_after_load, check_load
from tests.faults.harness.modes import report, short_or_long
from tests.faults.harness.population import Population
from tests.faults.harness.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = pytest.mark.faults

SEED = 20261128
WORKERS, ITEMS = 4, 200
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=16))


@pytest.mark.parametrize("backend", ["redis", "sqlite"])
def test_killed_worker_loses_and_doubles_no_event(tmp_path: Path, backend: str) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    settings = {"RECBLR_WORKERS": str(WORKERS), "RECBLR_EVENTS_KEPT": "100000"}
    with RedisServer() as server:
        url = server.url if backend == "redis" else f"sqlite:///{tmp_path}/log.db"
        with RunningService(tmp_path, url, tmp_path / "bundle", **settings) as service:
            asyncio.run(_kill_workers(service, url, backend))


async def _kill_workers(service: RunningService, url: str, backend: str) -> None:
    kills, rng = short_or_long(2, 40), random.Random(SEED)
    population = Population(short_or_long(100, 100_000 if backend == "redis" else 5_000), ITEMS, SEED)
    await population.fill(service.url)
    users = [*list(population.histories)[: short_or_long(20, 500)], *(f"new{n}" for n in range(short_or_long(5, 50)))]
    load = Load(service.url, users, [f"i{row}" for row in range(1, ITEMS + 1)], SEED, pause_seconds=0.05)
    await _wait_until_ready(service, WORKERS)
    silences, restarts = [], []
    traffic = CatalogueTraffic(service.url, url, load.items, SEED)
    async with load.running(), traffic.running():
        # A kill may hit a worker without a request in flight. If none was hit, up to 20 more workers are killed.
        while len(restarts) < kills or not (load.statuses["none"] or len(restarts) == kills + 20):
            await load.wait_for_acknowledged(rng.randrange(30, 150))
            os.kill(rng.choice(service.workers()), signal.SIGKILL)
            started_at = time.monotonic()
            await load.wait_for_acknowledged(1)
            silences.append(time.monotonic() - started_at)
            await _wait_until_ready(service, WORKERS + len(restarts) + 1)
            restarts.append(time.monotonic() - started_at)
    result = await check_load(load, [BUNDLE], population, traffic)
    audit = await audit_after_load(load, url, population, result)
    report(
        "kill -9 of a random worker under load",
        backend=backend,
        workers=WORKERS,
        seed=SEED,
        kills=len(restarts),
        acknowledged=len(load.acknowledged),
        answers=len(load.answers),
        statuses=dict(load.statuses),
        **traffic.figures(),
        **result.figures(),
        longest_silence_seconds=round(max(silences), 2),
        longest_restart_seconds=round(max(restarts), 2),
        **audit.figures(),
    )
    assert result.clean(), result
    assert load.statuses["none"]  # some kill interrupted a request
    assert audit.damaged == 0
    assert audit.max_relative_error <= 1e-5


async def _wait_until_ready(service: RunningService, starts: int) -> None:
    """Wait for `starts` starts of workers, including those killed later."""

    def ready() -> bool:
        return service.log().count("service is ready") >= starts and len(service.workers()) == WORKERS

    await asyncio.to_thread(wait_for, f"{starts} starts of workers", ready)
