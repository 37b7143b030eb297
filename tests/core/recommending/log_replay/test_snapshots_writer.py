"""Snapshot writer: order, batches, limits and failures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from service.core.errors import StoreUnavailable
from service.core.events import SnapshotPut
from service.core.recommending.log_replay.snapshots import SnapshotWriter
from tests.core.memory_store import MemoryStore


def put(applied: int, user_id: str = "u", generation: str = "1", repair: bool = False) -> SnapshotPut:
    return SnapshotPut(user_id, generation, "v1", applied, b"blob", repair)


def write(*puts: SnapshotPut, store: MemoryStore | None = None, **limits: float) -> MemoryStore:
    store = store or MemoryStore()

    async def scenario() -> None:
        writer = SnapshotWriter(store, **{"max_queue": 10, **limits})
        for each in puts:
            writer.offer(each)
        await writer.close()

    asyncio.run(scenario())
    return store


@pytest.mark.parametrize("order", [(1, 3, 2), (3, 2, 1), (1, 2, 3)])
def test_longest_snapshot_of_one_log_is_written_once(order: tuple[int, ...]) -> None:
    store = write(*(put(applied) for applied in order))
    assert [[each.applied for each in puts] for puts in store.puts] == [[3]]


def test_snapshot_of_a_new_generation_replaces_a_longer_one() -> None:
    store = write(put(9, generation="1"), put(2, generation="2"))
    assert [(each.generation, each.applied) for each in store.puts[0]] == [("2", 2)]


@pytest.mark.parametrize("puts", [(put(2, repair=True), put(3)), (put(3), put(2, repair=True))])
def test_repair_is_kept_when_a_newer_snapshot_replaces_it(puts: tuple[SnapshotPut, ...]) -> None:
    assert write(*puts).puts == [[put(3, repair=True)]]


def test_full_queue_drops_new_users_and_writes_in_batches() -> None:
    store = write(*(put(1, user_id=str(number)) for number in range(7)), max_queue=5, max_batch=2)
    assert [len(puts) for puts in store.puts] == [2, 2, 1]


def test_delayed_snapshots_are_written_together_and_close_does_not_wait() -> None:
    class SignallingStore(MemoryStore):
        async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
            written.set()
            return await super().put_snapshots(puts)

    store, written = SignallingStore(), asyncio.Event()

    async def scenario() -> None:
        writer = SnapshotWriter(store, max_queue=10, delay_seconds=0.05)
        for applied in (1, 2, 3):
            writer.offer(put(applied))
            writer.offer(put(applied, user_id="w"))
            await asyncio.sleep(0)
        await asyncio.wait_for(written.wait(), 10)
        slow = SnapshotWriter(store, max_queue=10, delay_seconds=1e6)
        slow.offer(put(4))
        await asyncio.sleep(0)
        await slow.close()

    asyncio.run(scenario())
    assert [[(each.user_id, each.applied) for each in puts] for puts in store.puts] == [
        [("u", 3), ("w", 3)],
        [("u", 4)],
    ]


@pytest.mark.parametrize("error", [StoreUnavailable("down"), RuntimeError("a fault")])
def test_failed_write_does_not_stop_the_writer(error: Exception) -> None:
    store = MemoryStore()
    store.put_error = error
    write(*(put(1, user_id=str(number)) for number in range(4)), store=store, max_batch=2)
    assert len(store.puts) == 2
