"""Failover to a replica that is 50 ms behind its primary.

With RECBLR_REDIS_WAIT=1 no acknowledged event is lost. Without it some are, which proves that the test sees losses.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.deployments import SentinelServers
from tests.end_to_end.service import RunningService
from tests.faults.harness.catalogue_traffic import CatalogueTraffic
from tests.faults.harness.lagging_link import LaggingPair
from tests.faults.harness.modes import report, short_or_long
from tests.faults.harness.population import audit_all_users
from tests.faults.harness.tally import Tally
from tests.faults.harness.writers import Load
from tests.model.builders import bundle_of

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261128
MAX_ROUNDS = 20
USERS, ITEMS = 24, 40
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1))
ITEM_IDS = [item.item_id for item in BUNDLE.items]


def test_failover_to_a_delayed_replica_loses_events_only_without_wait(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    rounds = short_or_long(1, 10)
    tallies = {}
    for wait in (0, 1):
        tallies[wait] = tally = Tally(BUNDLE)
        settings = {"RECBLR_REDIS_WAIT": str(wait), "RECBLR_EVENTS_KEPT": "100000"}
        # After this time a sentinel would reconnect the replica directly to the primary, without the link.
        with SentinelServers(failover_timeout_ms=600_000, sentinels=1) as servers, ExitStack() as stack:
            pair, traffic = LaggingPair(servers, stack), None
            service = stack.enter_context(RunningService(tmp_path, servers.url, tmp_path / "bundle", **settings))
            number = 0
            # Without WAIT something must be lost. A busy machine may acknowledge nothing in the last 50 ms.
            while number < rounds or (not wait and number < MAX_ROUNDS and not has_lost(tally)):
                load = Load(service.url, [f"{number}-{n}" for n in range(USERS)], ITEM_IDS, SEED)
                traffic = CatalogueTraffic(service.url, servers.url, ITEM_IDS, SEED + number, continued=traffic)
                asyncio.run(_fail_over(pair, load, traffic, tally))
                number += 1
            audited = asyncio.run(audit_all_users(service.url, servers.url))
            rereads = service.metric("recblr_catalogue_shards_read_again_total")
        report(
            "the primary is killed while its replica is 50 ms behind, and a sentinel promotes the replica",
            redis_wait=wait,
            seed=SEED,
            failovers=number,
            **tally.figures(),
            **traffic.figures() if traffic else {},
            catalogue_shards_read_again=rereads,
            **audited.figures(),
        )
        assert set(tally.statuses) == {"200", "503"}
        assert tally.violations["diverged"] == 0, tally.examples  # also of revisions that were given out twice
        assert audited.damaged == 0
        assert audited.max_relative_error <= 1e-5
    assert has_lost(tallies[0]), tallies[0].violations
    assert tallies[1].clean(), tallies[1].examples


def has_lost(tally: Tally) -> bool:
    """Return whether events and changes of the catalogue were lost."""
    return tally.violations["lost"] > 0 and tally.violations["lost_writes"] > 0


async def _fail_over(pair: LaggingPair, load: Load, traffic: CatalogueTraffic, tally: Tally) -> None:
    async with load.running(), traffic.running():
        await load.wait_for_acknowledged(200)
        await traffic.wait_for_writes(20)
        started_at = time.monotonic()
        await asyncio.to_thread(pair.fail_over)
        await asyncio.to_thread(pair.restart)
        await load.wait_for_acknowledged(200)
        await traffic.wait_for_writes(20)
    await tally.add(load, started_at, traffic)
