"""A primary dies while its replica is 50 ms behind, and the replica takes over.

With RECBLR_REDIS_WAIT=1 nothing acknowledged is lost. Without it something is, or this test would see no loss.
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
from tests.faults.form import report, times
from tests.faults.lagging_link import LaggingLink
from tests.faults.population import audit_everyone
from tests.faults.tally import Tally
from tests.faults.writers import Load
from tests.model.builders import bundle_of

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261128
LAG_SECONDS = 0.05
USERS, ITEMS = 24, 40
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1))


class LaggingPair:
    """A primary and the replica that follows it late; they change places with each failover."""

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
        """Kill the primary with what it has sent and the replica has not got; return when the replica writes."""
        self._link.cut()
        self._primary.kill()
        wait_for("the replica to be promoted", lambda: info(self._replica, "replication")["role"] == "master")

    def start_again(self) -> None:
        """The dead one comes back as the late replica of the other."""
        self._primary.start()
        self._primary, self._replica = self._replica, self._primary
        self._follow()


def test_a_replica_that_lags_takes_over(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    rounds = times(1, 10)
    # A sentinel would send the replica past the link to the primary itself; not within this time.
    with SentinelServers(failover_timeout_ms=600_000, sentinels=1) as servers, ExitStack() as stack:
        pair = LaggingPair(servers, stack)
        tallies = {}
        for wait in (0, 1):
            settings = {"RECBLR_REDIS_WAIT": str(wait), "RECBLR_EVENTS_KEPT": "100000"}
            with RunningService(tmp_path, servers.url, tmp_path / "bundle", **settings) as service:
                tallies[wait] = tally = Tally(BUNDLE)
                for number in range(rounds):
                    users = [f"{wait}-{number}-{n}" for n in range(USERS)]
                    asyncio.run(_fail_over(service, pair, users, tally))
                audited = asyncio.run(audit_everyone(service.url, servers.url))
            report(
                "the primary is killed while its replica is 50 ms behind, and a sentinel promotes the replica",
                redis_wait=wait,
                seed=SEED,
                failovers=rounds,
                **tally.figures(),
                **audited.figures(),
            )
            assert set(tally.statuses) == {"200", "503"}
            assert audited.damaged == 0
            assert audited.max_relative_error <= 1e-5
    assert tallies[0].wrongs["lost"] > 0
    assert tallies[1].clean(), tallies[1].examples


async def _fail_over(service: RunningService, pair: LaggingPair, users: Sequence[str], tally: Tally) -> None:
    load = Load(service.url, users, [item.item_id for item in BUNDLE.items], SEED)
    async with load.running():
        await load.acknowledged_more(200)
        began = time.monotonic()
        await asyncio.to_thread(pair.fail_over)
        await asyncio.to_thread(pair.start_again)
        await load.acknowledged_more(200)
    await tally.add(load, began)
