"""Lost, late and cut-off replies of Redis; retried events count once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.mode import report, short_or_long
from tests.faults.oracle import Findings
from tests.faults.population import AuditSummary, audit_users
from tests.faults.proxy import Fault, Proxy
from tests.faults.verification import check_load
from tests.faults.writers import Load
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = pytest.mark.faults

SEED = 20261128
ITEMS, USERS = 40, 12
# Fewer drops, because each stops the service for a second.
EVERY: dict[Fault, int] = {"cut": 10, "delay": 10, "drop": 20}
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=16))


@pytest.mark.parametrize("fault", EVERY)
def test_retried_events_count_once(tmp_path: Path, fault: Fault) -> None:
    load, proxy, findings, audits = _run(tmp_path, fault, named=True)
    assert findings.clean(), findings
    assert proxy.disturbed
    if fault == "cut":
        assert load.late_duplicates  # some events were appended before their reply was lost
    assert audits.damaged == 0
    assert audits.max_relative_error <= 1e-5


def test_retried_events_without_event_id_count_twice(tmp_path: Path) -> None:
    """Shows that the test above can find a duplicate."""
    _, _, findings, _ = _run(tmp_path, "cut", named=False)
    assert findings.duplicated
    assert (findings.lost, findings.out_of_order, findings.wrong) == (0, 0, 0), findings


def _run(tmp_path: Path, fault: Fault, *, named: bool) -> tuple[Load, Proxy, Findings, AuditSummary]:
    write_bundle(tmp_path / "bundle", BUNDLE)
    with RedisServer() as server:
        return asyncio.run(_write_through_proxy(tmp_path, server, fault, named))


async def _write_through_proxy(
    tmp_path: Path, server: RedisServer, fault: Fault, named: bool
) -> tuple[Load, Proxy, Findings, AuditSummary]:
    async with Proxy(server.port, fault, SEED) as proxy:
        service = RunningService(tmp_path, proxy.url, tmp_path / "bundle", RECBLR_EVENTS_KEPT="100000")
        await asyncio.to_thread(service.__enter__)
        try:
            users, items = [f"user{n}" for n in range(USERS)], [f"i{row}" for row in range(1, ITEMS + 1)]
            load = Load(service.url, users, items, SEED, twice=0.0, named=named)
            proxy.every = EVERY[fault]
            await load.write(short_or_long(20, 200))
            proxy.every = 0
            findings = await check_load(load, [BUNDLE])
            audits = await audit_users(service.url, server.url)
        finally:  # otherwise the proxy waits for its connections
            await asyncio.to_thread(service.stop)
    report(
        {"cut": "replies cut off", "delay": "late replies", "drop": "commands and replies lost"}[fault],
        event_ids=named,
        seed=SEED,
        round_trips=proxy.round_trips,
        disturbed=proxy.disturbed,
        acknowledged=len(load.acknowledged),
        retries_found_to_be_duplicates=load.late_duplicates,
        acknowledged_without_recommendations=load.without_recommendations,
        statuses=dict(load.statuses),
        **findings.figures(),
        **audits.figures(),
    )
    return load, proxy, findings, audits
