"""A worker's copy follows the store, through outages and failovers."""

from __future__ import annotations

import asyncio
from copy import deepcopy

import pytest

from service.core.catalogue_store import (
    CATALOGUE_SHARDS,
    ShardChanges,
    ShardPage,
    ShardPosition,
    catalogue_shard,
)
from service.core.errors import StoreUnavailable
from service.core.jobs.catalogue_sync import PAGE_ITEMS
from tests.core.jobs.catalogue_worker import IDS, Worker, fill
from tests.core.memory_catalogue import MemoryCatalogue

pytestmark = pytest.mark.anyio


@pytest.fixture
def store() -> MemoryCatalogue:
    return MemoryCatalogue()


@pytest.fixture
def worker(store: MemoryCatalogue) -> Worker:
    return Worker(store)


async def test_start_reads_everything(store: MemoryCatalogue, worker: Worker) -> None:
    await fill(store, [f"i{n}" for n in range(10_000)])
    await store.set_attribute("price", None, "number")
    await worker.sync.start()
    assert worker.is_current(store)
    assert worker.definitions.current == await store.definitions()
    assert worker.meter.items == 10_000
    await worker.sync.close()


async def test_changes_are_followed(store: MemoryCatalogue, worker: Worker) -> None:
    await worker.sync.start()
    await fill(store, [f"i{n}" for n in range(3_000)])
    await worker.until_current(store)
    await fill(store, ["i5", "new"], b"two")
    await store.set_filter("cheap", None, "price < 5")
    await worker.until_current(store)
    async with asyncio.timeout(5):
        while not worker.definitions.current.filters:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    assert worker.meter.applied == 3_002
    await worker.sync.close()


async def test_busy_shard_does_not_hold_up_the_others(store: MemoryCatalogue, worker: Worker) -> None:
    await worker.sync.start()
    await worker.sync.close()
    await fill(store, IDS[:1000])
    await fill(store, ["flip"])
    assert catalogue_shard("flip") != 3
    assert await worker.sync.poll() == 0
    assert "flip" in worker.copy.items
    assert len(worker.copy.items) == 1 + PAGE_ITEMS
    assert worker.meter.states[-1][1] == 1000 - PAGE_ITEMS
    while await worker.sync.poll() == 0:
        pass
    assert worker.is_current(store) and worker.meter.states[-1][1] == 0


async def test_missing_part_refuses_the_start(store: MemoryCatalogue, worker: Worker) -> None:
    for shard in (3, CATALOGUE_SHARDS):
        store.down = {shard}
        with pytest.raises(StoreUnavailable):
            await worker.sync.start()


async def test_copy_stays_at_its_revision_while_a_primary_is_away(store: MemoryCatalogue, worker: Worker) -> None:
    await fill(store, [*IDS[:10], "other"])
    await worker.sync.start()
    await worker.sync.close()
    await fill(store, [IDS[0], "other"], b"two")
    store.down = {3}
    worker.now += 7
    with pytest.raises(StoreUnavailable):
        await worker.sync.poll()
    assert worker.copy.items[IDS[0]].record == b"one"
    assert worker.copy.items["other"].record == b"two"
    assert worker.sync.age_seconds == 7 == worker.meter.states[-1][0]
    store.down = set()
    await worker.sync.poll()
    assert worker.sync.age_seconds == 0
    assert worker.is_current(store)


async def test_definitions_that_are_away_do_not_hold_up_items(store: MemoryCatalogue, worker: Worker) -> None:
    await worker.sync.start()
    await worker.sync.close()
    await fill(store, ["a"])
    store.down = {CATALOGUE_SHARDS}
    with pytest.raises(StoreUnavailable):
        await worker.sync.poll()
    assert "a" in worker.copy.items


@pytest.mark.parametrize("reissued", [0, 1, 5, 9])
async def test_failover_that_undoes_changes_is_followed(
    store: MemoryCatalogue, worker: Worker, reissued: int
) -> None:
    await fill(store, IDS[:10])
    await worker.sync.start()
    replica = deepcopy(store._shards)
    await fill(store, IDS[5:12], b"undone")
    await worker.until_current(store)
    store._shards = replica
    await fill(store, IDS[20 : 20 + reissued])
    await worker.until_current(store)
    assert worker.meter.rereads == 1
    await worker.sync.close()


async def test_shard_that_was_trimmed_too_far_is_read_again(store: MemoryCatalogue, worker: Worker) -> None:
    await worker.sync.start()
    await worker.sync.close()
    store._changes_kept = 5
    await fill(store, IDS[:50])
    await worker.sync.poll()
    await asyncio.gather(*worker.sync._rereading.values())
    assert worker.is_current(store)


async def test_changes_of_four_shards_are_read_at_once(worker: Worker, store: MemoryCatalogue) -> None:
    await worker.sync.start()
    await worker.sync.close()
    await fill(store, [f"i{n}" for n in range(200)])
    reading, most = 0, 0

    class Slow(MemoryCatalogue):
        async def changes(self, shard: int, after: ShardPosition, limit: int) -> ShardChanges | None:
            nonlocal reading, most
            reading += 1
            most = max(most, reading)
            await asyncio.sleep(0)
            reading -= 1
            return await store.changes(shard, after, limit)

        positions = store.positions

    worker.sync._store = Slow()
    while await worker.sync.poll() == 0:
        pass
    assert worker.is_current(store)
    assert most == 4  # more would hold the event loop for too long


async def test_copy_is_not_touched_until_a_shard_is_read_again(store: MemoryCatalogue, worker: Worker) -> None:
    """A part of a shard is of no revision."""
    await fill(store, IDS[:10])
    await worker.sync.start()
    await worker.sync.close()
    store._shards[3] = type(store._shards[3])()  # another history
    await fill(store, IDS[:600], b"two")
    before, seen = dict(worker.copy.items), []

    class Watched(MemoryCatalogue):
        async def scan(self, shard: int, cursor: str, limit: int) -> ShardPage | None:
            seen.append(worker.copy.items == before)
            page = await store.scan(shard, cursor, 40)
            if len(seen) == 3:
                await fill(store, IDS[550:700], b"during the scan")
            return page

        async def changes(self, shard: int, after: ShardPosition, limit: int) -> ShardChanges | None:
            seen.append(worker.copy.items == before)
            return await store.changes(shard, after, limit)

    worker.sync._reader._store = Watched()
    await worker.sync._reader.reread(3)
    assert len(seen) > 10 and all(seen)
    assert worker.is_current(store)


async def test_own_changes_are_applied_at_once(store: MemoryCatalogue, worker: Worker) -> None:
    await worker.sync.start()
    await worker.sync.close()
    ids = [f"i{n}" for n in range(1000)]
    await fill(store, ids)
    await worker.sync.include(dict(enumerate(each.position for each in store._shards[:-1])))
    assert worker.is_current(store)


async def test_own_changes_behind_many_others_are_left_to_the_next_polls(
    store: MemoryCatalogue, worker: Worker
) -> None:
    await worker.sync.start()
    await worker.sync.close()
    await fill(store, IDS[:1000])
    await worker.sync.include({3: store._shards[3].position})
    assert PAGE_ITEMS <= len(worker.copy.items) < 1000
    while await worker.sync.poll() == 0:
        pass
    assert worker.is_current(store)


async def test_own_changes_wait_for_the_poll_while_the_store_cannot_be_read(
    store: MemoryCatalogue, worker: Worker
) -> None:
    await worker.sync.start()
    await worker.sync.close()
    await fill(store, IDS[:2])
    store.down = {3}
    await worker.sync.include({3: store._shards[3].position})
    assert not worker.copy.items
    store.down = set()
    await worker.sync.poll()
    assert worker.is_current(store)


async def test_own_changes_after_a_failover_do_not_hide_what_it_undid(store: MemoryCatalogue, worker: Worker) -> None:
    await fill(store, IDS[:3])
    await worker.sync.start()
    await worker.sync.close()
    replica = deepcopy(store._shards)
    await fill(store, IDS[3:5], b"undone")
    await worker.sync.poll()
    store._shards = replica
    await fill(store, IDS[10:13])
    included = worker.sync.include({3: store._shards[3].position})
    await asyncio.gather(included, worker.sync.poll(), return_exceptions=True)
    await asyncio.gather(*worker.sync._rereading.values())
    assert worker.is_current(store)
    assert worker.meter.rereads == 1
