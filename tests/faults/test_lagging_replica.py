"""A lagging replica is promoted after its primary was killed.

With RECBLR_REDIS_WAIT=1 no acknowledged event is lost. Without it some are: the test can find a loss.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.deployments import SentinelServers, in_sync, info, wait_for
from tests.end_to_end.service import RunningService
from tests.faults.lagging_link import LaggingLink
from tests.faults.mode import report, short_or_long
from tests.faults.population import audit_users
from tests.faults.totals import Totals
from tests.faults.writers import Load
from tests.model.builders import bundle_of

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261128
LAG_SECONDS = 0.05
USERS, ITEMS = 24, 40
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1))


class LaggingPair:
    """A primary and its lagging replica, which swap roles at each failover."""

    def __init__(self, servers: SentinelServers, stack: ExitStack) -> None:
        self._primary, self._replica = servers.primary, servers.replica
        self._stack = stack
        self._follow()

    def _follow(self) -> None:
        self._link = self._stack.enter_context(LaggingLink(self._primary.port, LAG_SECONDS))
        with Redis(port=self._replica.port) as client:
            client.replicaof("127.0.0.1", self._link.port)
        wait_for("the replica to be in sync", lambda: in_sync(self._primary))

    def fail_over(self) -> None:
        """Kill the primary and the data in transit; wait for the promotion."""
        self._link.cut()
        self._primary.kill()
        wait_for("the replica to be promoted", lambda: info(self._replica, "replication")["role"] == "master")

    def start_again(self) -> None:
        """Restart the killed server as the lagging replica."""
        self._primary.start()
        self._primary, self._replica = self._replica, self._primary
        self._follow()


def test_promoted_lagging_replica_loses_no_acknowledged_event_with_wait(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    rounds = short_or_long(1, 10)
    # After the failover timeout a sentinel would connect the replica to the primary without the link.
    with SentinelServers(failover_timeout_ms=600_000, sentinels=1) as servers, ExitStack() as stack:
        pair = LaggingPair(servers, stack)
        totals_by_wait = {}
        for wait in (0, 1):
            settings = {"RECBLR_REDIS_WAIT": str(wait), "RECBLR_EVENTS_KEPT": "100000"}
            with RunningService(tmp_path, servers.url, tmp_path / "bundle", **settings) as service:
                totals_by_wait[wait] = totals = Totals(BUNDLE)
                for number in range(rounds):
                    users = [f"{wait}-{number}-{n}" for n in range(USERS)]
                    asyncio.run(_fail_over(service, pair, users, totals))
                audited = asyncio.run(audit_users(service.url, servers.url))
            report(
                "the primary is killed while its replica is 50 ms behind, and a sentinel promotes the replica",
                redis_wait=wait,
                seed=SEED,
                failovers=rounds,
                **totals.figures(),
                **audited.figures(),
            )
            assert set(totals.statuses) == {"200", "503"}
            assert audited.damaged == 0
            assert audited.max_relative_error <= 1e-5
    assert totals_by_wait[0].problems["lost"] > 0
    assert totals_by_wait[1].clean(), totals_by_wait[1].examples


async def _fail_over(service: RunningService, pair: LaggingPair, users: Sequence[str], totals: Totals) -> None:
    load = Load(service.url, users, [item.item_id for item in BUNDLE.items], SEED)
    async with load.running():
        await load.acknowledged_more(200)
        started_at = time.monotonic()
        await asyncio.to_thread(pair.fail_over)
        await asyncio.to_thread(pair.start_again)
        await load.acknowledged_more(200)
    await totals.add(load, started_at)
