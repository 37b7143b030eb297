"""Loss of one primary of a Redis Cluster of three.

The primary is lost by a planned failover, a pause of 6 s, or kill -9. No acknowledged event is lost or duplicated,
and users on the other two primaries see no error.
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
from tests.faults.harness.catalogue_traffic import CatalogueTraffic
from tests.faults.harness.modes import report, short_or_long
from tests.faults.harness.population import audit_all_users
from tests.faults.harness.tally import Tally
from tests.faults.harness.writers import Load
from tests.model.builders import bundle_of

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261128
USERS, ITEMS, WRITERS = 12, 40, 8
PAUSE_SECONDS = 6.0
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1))


class Shard:
    """A third of the slots, with its primary and its replica."""

    def __init__(self, cluster: ClusterServers, number: int) -> None:
        self._cluster = cluster
        self._number = number
        self.primary, self.replica = cluster.nodes[number], cluster.nodes[number + 3]

    def has(self, user: str) -> bool:
        return 3 * key_slot(keys(user)[0].encode()) // SLOTS == self._number

    def plan(self) -> None:
        """Promote the replica by CLUSTER FAILOVER."""
        self._cluster.fail_over(self.replica)
        self._swap_roles()

    def pause(self) -> None:
        """Stop the primary by SIGSTOP until the replica is promoted."""
        started_at = time.monotonic()
        self.primary.pause()
        self._await_promotion()
        time.sleep(max(0.0, started_at + PAUSE_SECONDS - time.monotonic()))
        self.primary.resume()
        self._swap_roles()

    def kill(self) -> None:
        """Kill the primary; restart it after the replica is promoted."""
        self.primary.kill()
        self._await_promotion()
        self.primary.start()
        self._swap_roles()

    def _await_promotion(self) -> None:
        wait_for("the promotion of the replica", lambda: info(self.replica, "replication")["role"] == "master")

    def _swap_roles(self) -> None:
        self.primary, self.replica = self.replica, self.primary


FAULTS: dict[str, Callable[[Shard], None]] = {
    "planned-failover": Shard.plan,
    "pause-of-6-s": Shard.pause,
    "kill-9": Shard.kill,
}


def test_loss_of_a_primary_loses_no_acknowledged_event(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    rounds = short_or_long(1, 5)
    settings = {"RECBLR_REDIS_WAIT": "1", "RECBLR_EVENTS_KEPT": "100000"}
    with (
        ClusterServers() as cluster,
        RunningService(tmp_path, cluster.url, tmp_path / "bundle", **settings) as service,
    ):
        shards = [Shard(cluster, number) for number in range(3)]
        rng = random.Random(SEED)
        traffic: CatalogueTraffic | None = None
        for fault in FAULTS:
            affected, others = Tally(BUNDLE), Tally(BUNDLE)
            for number in range(rounds):
                users = [f"{fault}-{number}-{n}" for n in range(20 * USERS)]
                traffic = CatalogueTraffic(
                    service.url,
                    cluster.url,
                    [item.item_id for item in BUNDLE.items],
                    SEED + number,
                    continued=traffic,
                )
                shard = rng.choice(shards)
                asyncio.run(_break_one(cluster, service, shard, fault, users, affected, others, traffic))
            audited = asyncio.run(audit_all_users(service.url, cluster.url))
            report(
                f"a cluster, {fault} of a primary",
                seed=SEED,
                rounds=rounds,
                **affected.figures(),
                **traffic.figures(),
                of_other_primaries=others.figures(),
                **audited.figures(),
            )
            assert affected.clean(), affected.examples
            assert others.clean(), others.examples
            assert set(affected.statuses) <= {"200", "503"}
            assert set(others.statuses) == {"200"}
            # Questions are answered at the revision that the worker has.
            assert set(traffic.record.questions) == {"200"}
            assert set(traffic.record.writes) <= {"200", "503"}
            assert audited.damaged == 0
            assert audited.max_relative_error <= 1e-5


async def _break_one(
    cluster: ClusterServers,
    service: RunningService,
    shard: Shard,
    fault: str,
    users: Sequence[str],
    affected: Tally,
    others: Tally,
    traffic: CatalogueTraffic,
) -> None:
    items = [item.item_id for item in BUNDLE.items]
    loads = [
        Load(
            service.url,
            [user for user in users if shard.has(user) == own][:USERS],
            items,
            SEED,
            writers=WRITERS,
            pause_seconds=0.01,
        )
        for own in (True, False)
    ]
    async with loads[0].running(), loads[1].running(), traffic.running():
        await loads[0].wait_for_acknowledged(100)
        started_at = time.monotonic()
        await asyncio.to_thread(FAULTS[fault], shard)
        await loads[0].wait_for_acknowledged(100)
        await traffic.wait_for_writes(20)
    for tally, load in zip((affected, others), loads, strict=True):
        await tally.add(load, started_at, traffic)
    await asyncio.to_thread(cluster.await_healthy)
