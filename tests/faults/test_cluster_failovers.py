"""A cluster of three primaries loses one: in a planned failover, by a pause of 6 s, by kill -9.

Nothing acknowledged is lost or there twice, and the users of the other two primaries notice nothing.
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
from tests.faults.form import report, times
from tests.faults.population import audit_everyone
from tests.faults.tally import Tally
from tests.faults.writers import Load
from tests.model.builders import bundle_of

pytestmark = [pytest.mark.faults, pytest.mark.alone]

SEED = 20261128
USERS, ITEMS, WRITERS = 12, 40, 8
PAUSE_SECONDS = 6.0
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=4, expansion=1, conv_width=2, layers=1))


class Shard:
    """A third of the slots: who serves them and who stands by."""

    def __init__(self, cluster: ClusterServers, number: int) -> None:
        self._cluster = cluster
        self._number = number
        self.primary, self.replica = cluster.nodes[number], cluster.nodes[number + 3]

    def has(self, user: str) -> bool:
        return 3 * key_slot(keys(user)[0].encode()) // SLOTS == self._number

    def plan(self) -> None:
        """CLUSTER FAILOVER."""
        self._cluster.fail_over(self.replica)
        self._change_places()

    def pause(self) -> None:
        """SIGSTOP for longer than the cluster waits before it promotes the replica."""
        began = time.monotonic()
        self.primary.pause()
        self._await_promotion()
        time.sleep(max(0.0, began + PAUSE_SECONDS - time.monotonic()))
        self.primary.resume()
        self._change_places()

    def kill(self) -> None:
        """kill -9, and a restart once the replica has taken over."""
        self.primary.kill()
        self._await_promotion()
        self.primary.start()
        self._change_places()

    def _await_promotion(self) -> None:
        wait_for("the replica to take over", lambda: info(self.replica, "replication")["role"] == "master")

    def _change_places(self) -> None:
        self.primary, self.replica = self.replica, self.primary


FAULTS: dict[str, Callable[[Shard], None]] = {
    "planned-failover": Shard.plan,
    "pause-of-6-s": Shard.pause,
    "kill-9": Shard.kill,
}


def test_a_cluster_that_loses_a_primary(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", BUNDLE)
    rounds = times(1, 5)
    settings = {"RECBLR_REDIS_WAIT": "1", "RECBLR_EVENTS_KEPT": "100000"}
    with (
        ClusterServers() as cluster,
        RunningService(tmp_path, cluster.url, tmp_path / "bundle", **settings) as service,
    ):
        shards = [Shard(cluster, number) for number in range(3)]
        dice = random.Random(SEED)
        for fault in FAULTS:
            its, others = Tally(BUNDLE), Tally(BUNDLE)
            for number in range(rounds):
                users = [f"{fault}-{number}-{n}" for n in range(20 * USERS)]
                asyncio.run(_break_one(cluster, service, dice.choice(shards), fault, users, its, others))
            audited = asyncio.run(audit_everyone(service.url, cluster.url))
            report(
                f"a cluster, {fault} of a primary",
                seed=SEED,
                rounds=rounds,
                **its.figures(),
                of_other_primaries=others.figures(),
                **audited.figures(),
            )
            assert its.clean(), its.examples
            assert others.clean(), others.examples
            assert set(its.statuses) <= {"200", "503"}
            assert set(others.statuses) == {"200"}
            assert audited.damaged == 0
            assert audited.max_relative_error <= 1e-5


async def _break_one(
    cluster: ClusterServers,
    service: RunningService,
    shard: Shard,
    fault: str,
    users: Sequence[str],
    its: Tally,
    others: Tally,
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
        began = time.monotonic()
        await asyncio.to_thread(FAULTS[fault], shard)
        await loads[0].acknowledged_more(100)
    for tally, load in zip((its, others), loads, strict=True):
        await tally.add(load, began)
    await asyncio.to_thread(cluster.await_healthy)
