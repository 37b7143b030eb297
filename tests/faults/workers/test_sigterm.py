"""SIGTERM under load: accepted requests are answered before the service ends."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.harness.catalogue_traffic import CatalogueTraffic
from tests.faults.harness.load_checks import check_load
from tests.faults.harness.modes import report, short_or_long
from tests.faults.harness.oracle import logs_of
from tests.faults.harness.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261128
ITEMS, WRITERS = 40, 32
GRACE_SECONDS = 20.0  # for accepted requests; see `service/__main__.py`
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=16))


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load_fails_no_accepted_request(tmp_path: Path, workers: int) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    settings = {"RECBLR_WORKERS": str(workers), "RECBLR_EVENTS_KEPT": "100000"}
    stops = [0.0] * short_or_long(1, 5)
    loads: list[Load] = []
    traffic = None
    with RedisServer() as server:
        service = RunningService(tmp_path, server.url, tmp_path / "bundle", **settings)
        for stop in range(len(stops)):
            service.__enter__()
            load = Load(
                service.url,
                [f"user{n}-{stop}" for n in range(8)],
                [f"i{row}" for row in range(1, ITEMS + 1)],
                SEED + stop,
                writers=WRITERS,
                duplicate_fraction=0.0,
                retry=False,
            )
            loads.append(load)
            traffic = CatalogueTraffic(
                service.url, server.url, load.items, SEED + stop, retry=False, continued=traffic
            )
            stops[stop] = asyncio.run(_stop_seconds(service, load, traffic))
        with service:
            results = [asyncio.run(check_load(load, [BUNDLE], None, traffic)) for load in loads]
            accepted_unanswered = sum(asyncio.run(_unanswered(load)) for load in loads)
    report(
        "SIGTERM under load",
        workers=workers,
        seed=SEED,
        stops=len(stops),
        acknowledged=sum(len(load.acknowledged) for load in loads),
        not_accepted=sum(len(load.unanswered) for load in loads) - accepted_unanswered,
        accepted_and_not_answered=accepted_unanswered,
        **{name: sum(result.figures()[name] for result in results) for name in results[0].figures()},
        longest_exit_seconds=round(max(stops), 2),
    )
    assert all(result.clean() for result in results), results
    assert accepted_unanswered == 0
    assert all(load.unanswered for load in loads)  # the stop interrupted some
    assert max(stops) < GRACE_SECONDS


async def _stop_seconds(service: RunningService, load: Load, traffic: CatalogueTraffic) -> float:
    """Stop the service under load; return the seconds it took."""
    async with load.running(), traffic.running():
        await load.wait_for_acknowledged(20 * WRITERS)
        await traffic.wait_for_writes(10)
        started_at = time.monotonic()
        assert await asyncio.to_thread(service.stop) == 0
        return time.monotonic() - started_at


async def _unanswered(load: Load) -> int:
    """Return the number of unanswered events that are in the log."""
    logs = await logs_of(load.url, load.users)
    return len({entry.number for log in logs.values() for entry in log} & load.unanswered)
