"""Lost, late and cut off answers of Redis under retries."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.harness.catalogue_traffic import CatalogueTraffic
from tests.faults.harness.load_checks import check_load
from tests.faults.harness.modes import report, short_or_long
from tests.faults.harness.oracle import CheckResult
from tests.faults.harness.population import AuditSummary, audit_all_users
from tests.faults.harness.proxy import Fault, Proxy
from tests.faults.harness.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = pytest.mark.faults

SEED = 20261128
ITEMS, USERS = 40, 12
# A drop blocks the connection for a second, so there are fewer.
INTERVALS: dict[Fault, int] = {"cut": 10, "delay": 10, "drop": 20}
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=16))


@pytest.mark.parametrize("fault", INTERVALS)
def test_retried_event_is_recorded_once(tmp_path: Path, fault: Fault) -> None:
    load, proxy, result, everyone = _run(tmp_path, fault, event_ids=True)
    assert result.clean(), result
    assert proxy.disturbed
    if fault == "cut":
        assert load.acknowledged_as_duplicate  # some were recorded, but their answer was lost
    assert everyone.damaged == 0
    assert everyone.max_relative_error <= 1e-5


def test_retried_event_without_id_is_recorded_twice(tmp_path: Path) -> None:
    """Proves that the test above would notice a duplicate."""
    _, _, result, _ = _run(tmp_path, "cut", event_ids=False)
    assert result.duplicated
    assert (result.lost, result.out_of_order, result.wrong) == (0, 0, 0), result


def _run(tmp_path: Path, fault: Fault, *, event_ids: bool) -> tuple[Load, Proxy, CheckResult, AuditSummary]:
    write_bundle(tmp_path / "bundle", BUNDLE)
    with RedisServer() as server:
        return asyncio.run(_write_through_proxy(tmp_path, server, fault, event_ids))


async def _write_through_proxy(
    tmp_path: Path, server: RedisServer, fault: Fault, event_ids: bool
) -> tuple[Load, Proxy, CheckResult, AuditSummary]:
    async with Proxy(server.port, fault, SEED) as proxy:
        service = RunningService(tmp_path, proxy.url, tmp_path / "bundle", RECBLR_EVENTS_KEPT="100000")
        await asyncio.to_thread(service.__enter__)
        try:
            users, items = [f"user{n}" for n in range(USERS)], [f"i{row}" for row in range(1, ITEMS + 1)]
            load = Load(service.url, users, items, SEED, duplicate_fraction=0.0, event_ids=event_ids)
            traffic = CatalogueTraffic(service.url, server.url, items, SEED)
            async with traffic.running():
                proxy.interval = INTERVALS[fault]
                await load.write(short_or_long(20, 200))
                await traffic.wait_for_writes(20)
            proxy.interval = 0
            result = await check_load(load, [BUNDLE], None, traffic)
            everyone = await audit_all_users(service.url, server.url)
        finally:  # the proxy waits for its connections
            await asyncio.to_thread(service.stop)
    report(
        {"cut": "answers cut off", "delay": "late answers", "drop": "lost commands and answers"}[fault],
        event_ids=event_ids,
        seed=SEED,
        requests_to_redis=proxy.requests,
        disturbed=proxy.disturbed,
        acknowledged=len(load.acknowledged),
        acknowledged_as_duplicate=load.acknowledged_as_duplicate,
        acknowledged_without_recommendations=load.without_recommendations,
        statuses=dict(load.statuses),
        **traffic.figures(),
        **result.figures(),
        **everyone.figures(),
    )
    return load, proxy, result, everyone
