"""Between the service and Redis answers are cut off, late or lost. Clients repeat what failed, and it counts once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.aftermath import evaluated
from tests.faults.form import report, times
from tests.faults.oracle import ModelComparison
from tests.faults.population import Audited, audit_everyone
from tests.faults.proxy import Fault, Proxy
from tests.faults.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = pytest.mark.faults

SEED = 20261128
ITEMS, USERS = 40, 12
# A drop costs a second in which nothing is served, so there are fewer.
EVERY: dict[Fault, int] = {"cut": 10, "delay": 10, "drop": 20}
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=16))


@pytest.mark.parametrize("fault", EVERY)
def test_what_is_repeated_counts_once(tmp_path: Path, fault: Fault) -> None:
    load, proxy, comparison, everyone = _run(tmp_path, fault, named=True)
    assert comparison.clean(), comparison
    assert proxy.spoiled
    if fault == "cut":
        assert load.seen_late  # some had counted before anybody was told
    assert everyone.damaged == 0
    assert everyone.max_relative_error <= 1e-5


def test_without_event_ids_what_is_repeated_counts_again(tmp_path: Path) -> None:
    """So the test above would see a duplicate."""
    _, _, comparison, _ = _run(tmp_path, "cut", named=False)
    assert comparison.duplicated
    assert (comparison.lost, comparison.out_of_order, comparison.wrong) == (0, 0, 0), comparison


def _run(tmp_path: Path, fault: Fault, *, named: bool) -> tuple[Load, Proxy, ModelComparison, Audited]:
    write_bundle(tmp_path / "bundle", BUNDLE)
    with RedisServer() as server:
        return asyncio.run(_spoiled(tmp_path, server, fault, named))


async def _spoiled(
    tmp_path: Path, server: RedisServer, fault: Fault, named: bool
) -> tuple[Load, Proxy, ModelComparison, Audited]:
    async with Proxy(server.port, fault, SEED) as proxy:
        service = RunningService(tmp_path, proxy.url, tmp_path / "bundle", RECBLR_EVENTS_KEPT="100000")
        await asyncio.to_thread(service.__enter__)
        try:
            users, items = [f"user{n}" for n in range(USERS)], [f"i{row}" for row in range(1, ITEMS + 1)]
            load = Load(service.url, users, items, SEED, twice=0.0, named=named)
            proxy.every = EVERY[fault]
            await load.write(times(20, 200))
            proxy.every = 0
            comparison = await evaluated(load, [BUNDLE])
            everyone = await audit_everyone(service.url, server.url)
        finally:  # or the proxy waits for its connections
            await asyncio.to_thread(service.stop)
    report(
        {"cut": "answers cut off", "delay": "answers that are late", "drop": "commands and answers lost"}[fault],
        event_ids=named,
        seed=SEED,
        exchanges=proxy.exchanges,
        spoiled=proxy.spoiled,
        acknowledged=len(load.acknowledged),
        repeated_and_found_to_count=load.seen_late,
        acknowledged_without_recommendations=load.without_answer,
        statuses=dict(load.statuses),
        **comparison.figures(),
        **everyone.figures(),
    )
    return load, proxy, comparison, everyone
