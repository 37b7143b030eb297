"""A cluster loses a primary.

The fault is a planned failover, a pause of 6 s, or kill -9.

No acknowledged event is lost or duplicated, and users of the other primaries are not affected.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from redis.crc import key_slot

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from service.store.redis.layout import keys
from tests.deployments import SLOTS, ClusterServers, info, wait_for
from tests.end_to_end.service import RunningService
from tests.faults.mode import report, short_or_long
from tests.faults.population import audit_users
from tests.faults.totals import Totals
from tests.faults.writers import Load
from tests.model.builders import bundle_of

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261128
USERS, ITEMS, WRITERS = 12, 40, 8
PAUSE_SECONDS = 6.0
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1))


class Shard:
    """A third of the slots, with its primary and replica."""

    def __init__(self, cluster: ClusterServers, number: int) -> None:
        self._cluster = cluster
        self._number = number
        self.primary, self.replica = cluster.nodes[number], cluster.nodes[number + 3]

    def has(self, user: str) -> bool:
        return 3 * key_slot(keys(user)[0].encode()) // SLOTS == self._number

    def plan(self) -> None:
        """Run CLUSTER FAILOVER."""
        self._cluster.fail_over(self.replica)
        self._swap_roles()

    def pause(self) -> None:
        """Pause the primary for longer than the cluster waits for it."""
        started_at = time.monotonic()
        self.primary.pause()
        self._await_promotion()
        time.sleep(max(0.0, started_at + PAUSE_SECONDS - time.monotonic()))
        self.primary.resume()
        self._swap_roles()

    def kill(self) -> None:
        """Kill the primary; restart it once the replica is promoted."""
        self.primary.kill()
        self._await_promotion()
        self.primary.start()
        self._swap_roles()

    def _await_promotion(self) -> None:
        wait_for("the replica to take over", lambda: info(self.replica, "replication")["role"] == "master")

    def _swap_roles(self) -> None:
        self.primary, self.replica = self.replica, self.primary


FAULTS: dict[str, Callable[[Shard], None]] = {
    "planned-failover": Shard.plan,
    "pause-of-6-s": Shard.pause,
    "kill-9": Shard.kill,
}


def test_failed_primary_loses_no_event_and_affects_only_its_users(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    rounds = short_or_long(1, 5)
    settings = {"RECBLR_REDIS_WAIT": "1", "RECBLR_EVENTS_KEPT": "100000"}
    with (
        ClusterServers() as cluster,
        RunningService(tmp_path, cluster.url, tmp_path / "bundle", **settings) as service,
    ):
        shards = [Shard(cluster, number) for number in range(3)]
        rng = random.Random(SEED)
        for fault in FAULTS:
            own, others = Totals(BUNDLE), Totals(BUNDLE)
            for number in range(rounds):
                users = [f"{fault}-{number}-{n}" for n in range(20 * USERS)]
                asyncio.run(_fail_one_shard(cluster, service, rng.choice(shards), fault, users, own, others))
            audited = asyncio.run(audit_users(service.url, cluster.url))
            report(
                f"a cluster, {fault} of a primary",
                seed=SEED,
                rounds=rounds,
                **own.figures(),
                of_other_primaries=others.figures(),
                **audited.figures(),
            )
            assert own.clean(), own.examples
            assert others.clean(), others.examples
            assert set(own.statuses) <= {"200", "503"}
            assert set(others.statuses) == {"200"}
            assert audited.damaged == 0
            assert audited.max_relative_error <= 1e-5


async def _fail_one_shard(
    cluster: ClusterServers,
    service: RunningService,
    shard: Shard,
    fault: str,
    users: Sequence[str],
    own: Totals,
    others: Totals,
) -> None:
    items = [item.item_id for item in BUNDLE.items]
    loads = [
        Load(
            service.url,
            [user for user in users if shard.has(user) == own][:USERS],
            items,
            SEED,
            writers=WRITERS,
            pause=0.01,
        )
        for own in (True, False)
    ]
    async with loads[0].running(), loads[1].running():
        await loads[0].acknowledged_more(100)
        started_at = time.monotonic()
        await asyncio.to_thread(FAULTS[fault], shard)
        await loads[0].acknowledged_more(100)
    for totals, load in zip((own, others), loads, strict=True):
        await totals.add(load, started_at)
    await asyncio.to_thread(cluster.await_healthy)
