"""Workers die under load, one after the other: whatever was acknowledged stands, once, and every answer was right."""

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
from tests.faults.aftermath import audited, evaluated
from tests.faults.form import LONG, report, times
from tests.faults.population import Population
from tests.faults.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = pytest.mark.faults

SEED = 20261128
WORKERS, ITEMS = 4, 200
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=16))


@pytest.mark.parametrize("backend", ["redis", "sqlite"] if LONG else ["redis"])
def test_workers_are_killed_under_load(tmp_path: Path, backend: str) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    settings = {"RECBLR_WORKERS": str(WORKERS), "RECBLR_EVENTS_KEPT": "100000"}
    with RedisServer() as server:
        url = server.url if backend == "redis" else f"sqlite:///{tmp_path}/log.db"
        with RunningService(tmp_path, url, tmp_path / "bundle", **settings) as service:
            asyncio.run(_ordeal(service, url, backend))


async def _ordeal(service: RunningService, url: str, backend: str) -> None:
    kills, dice = times(2, 40), random.Random(SEED)
    population = Population(times(100, 100_000 if backend == "redis" else 5_000), ITEMS, SEED)
    await population.fill(service.url)
    users = [*list(population.histories)[: times(20, 500)], *(f"new{n}" for n in range(times(5, 50)))]
    load = Load(service.url, users, [f"i{row}" for row in range(1, ITEMS + 1)], SEED, pause=0.05)
    await _all_ready(service, WORKERS)
    silences, restarts = [], []
    async with load.running():
        # Whom a kill hits is chance; in the short form it may be nobody's request, and then there are more of them.
        while len(restarts) < kills or not (load.statuses["none"] or len(restarts) == kills + 20):
            await load.acknowledged_more(dice.randrange(30, 150))
            os.kill(dice.choice(service.workers()), signal.SIGKILL)
            began = time.monotonic()
            await load.acknowledged_more(1)
            silences.append(time.monotonic() - began)
            await _all_ready(service, WORKERS + len(restarts) + 1)
            restarts.append(time.monotonic() - began)
    comparison = await evaluated(load, [BUNDLE], population)
    everyone = await audited(load, url, population, comparison)
    report(
        "kill -9 of a random worker under load",
        backend=backend,
        workers=WORKERS,
        seed=SEED,
        kills=len(restarts),
        acknowledged=len(load.acknowledged),
        answers=len(load.answers),
        statuses=dict(load.statuses),
        **comparison.figures(),
        longest_silence_seconds=round(max(silences), 2),
        longest_restart_seconds=round(max(restarts), 2),
        **everyone.figures(),
    )
    assert comparison.clean(), comparison
    assert load.statuses["none"]  # or nobody was killed in the middle
    assert everyone.damaged == 0
    assert everyone.max_relative_error <= 1e-5


async def _all_ready(service: RunningService, starts: int) -> None:
    """Return once so many workers have become ready, the dead ones among them."""

    def ready() -> bool:
        return service.log().count("service is ready") >= starts and len(service.workers()) == WORKERS

    await asyncio.to_thread(wait_for, f"{starts} starts of workers", ready)
