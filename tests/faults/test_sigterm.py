"""SIGTERM under load: what was accepted is answered, and the service is gone within its time of grace."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.aftermath import evaluated
from tests.faults.form import report, times
from tests.faults.oracle import logs_of
from tests.faults.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261128
ITEMS, WRITERS = 40, 32
GRACE_SECONDS = 20.0  # that accepted requests are given, in `service/__main__.py`
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=16))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_under_load_fails_no_request(tmp_path: Path, workers: int) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    settings = {"RECBLR_WORKERS": str(workers), "RECBLR_EVENTS_KEPT": "100000"}
    stops = [0.0] * times(1, 5)
    loads = []
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
                twice=0.0,
                repeat=False,
            )
            loads.append(load)
            stops[stop] = asyncio.run(_stopped(service, load))
        with service:
            comparisons = [asyncio.run(evaluated(load, [BUNDLE])) for load in loads]
            accepted_unanswered = sum(asyncio.run(_unanswered(load)) for load in loads)
    report(
        "SIGTERM under load",
        workers=workers,
        seed=SEED,
        stops=len(stops),
        acknowledged=sum(len(load.acknowledged) for load in loads),
        not_accepted=sum(len(load.unanswered) for load in loads) - accepted_unanswered,
        accepted_and_not_answered=accepted_unanswered,
        **{name: sum(comparison.figures()[name] for comparison in comparisons) for name in comparisons[0].figures()},
        longest_exit_seconds=round(max(stops), 2),
    )
    assert all(comparison.clean() for comparison in comparisons), comparisons
    assert accepted_unanswered == 0
    assert all(load.unanswered for load in loads)  # or the stop met nobody
    assert max(stops) < GRACE_SECONDS


async def _stopped(service: RunningService, load: Load) -> float:
    """Stop the service under the load; how many seconds it took to exit."""
    async with load.running():
        await load.acknowledged_more(20 * WRITERS)
        began = time.monotonic()
        assert await asyncio.to_thread(service.stop) == 0
        return time.monotonic() - began


async def _unanswered(load: Load) -> int:
    """How many of the events that nobody answered are in the log all the same."""
    logs = await logs_of(load.url, load.users)
    return len({kept.name for log in logs.values() for kept in log} & load.unanswered)
