"""The store on one Redis server."""

from __future__ import annotations

import asyncio

import pytest

from service.core.events import AppendAndRead, Appended, LogView, SnapshotPut
from service.core.recommending.log_replay.user_replay import UserReplay
from tests.store.backends import RedisBackend
from tests.store.calls import V, append, append_and_read_all, new, put
from tests.store.contract import StoreContract
from tests.store.random_operations import compare_with_reference

pytestmark = pytest.mark.anyio


class TestRedis(StoreContract):
    pass


def test_random_operations_agree_with_the_reference_store(backend: RedisBackend) -> None:
    compare_with_reference(backend, examples=100)


def snapshot_of(version: str, view: LogView) -> SnapshotPut:
    return UserReplay("u", version, view, None, view.pending, 0, None).next_snapshot(b"state")


async def test_snapshot_of_an_event_that_a_failover_undid_is_refused(backend: RedisBackend) -> None:
    store = await backend.open()
    await append(store, "u", new("a", "1"))
    with backend.undo_as_a_failover():
        undone = await append(store, "u", new("b", "2"))
    await asyncio.sleep(0.01)  # append ids are in milliseconds, and a failover takes longer than one
    promoted = await append(store, "u", new("c", "3"))
    assert (undone.generation, undone.sequence) == (promoted.generation, promoted.sequence)
    puts = [snapshot_of(V, view) for view in (undone, promoted)]
    assert await store.put_snapshots(puts) == [False, True]
    older = await append(store, "u", new("d", "4"))
    await append(store, "u", new("e", "5"))
    assert await store.put_snapshots([snapshot_of("2", undone)]) == [False]
    assert await store.put_snapshots([snapshot_of("2", older)]) == [True]
    await store.close()


async def test_scripts_are_loaded_again_after_a_flush(backend: RedisBackend) -> None:
    store = await backend.open()
    with backend.client() as client:
        client.script_flush()
        requests = [AppendAndRead("u", V, (new(f"i{n}"),)) for n in range(5)]
        views = await append_and_read_all(store, requests)
        assert [view.appended for view in views] == [(Appended(n, False),) for n in range(1, 6)]
        client.script_flush()
        views = await append_and_read_all(store, [AppendAndRead(f"u{n}", V, (new("a"),)) for n in range(5)])
        assert [view.appended for view in views] == [(Appended(1, False),)] * 5
        client.script_flush()
        assert await put(store, "u", 5)
        client.script_flush()
        assert (await store.history("u", None, 2)) is not None
        client.script_flush()
        assert await store.delete_event("u", "seq-1")
        client.script_flush()
        assert await store.delete_user("u") == 4
    backend.check()
    await store.close()
