from __future__ import annotations

import asyncio

import pytest
from redis.crc import key_slot

from service.core.events import AppendAndRead, Appended
from service.core.recommending.snapshots import next_snapshot
from service.store.redis.layout import deletions_key, keys
from tests.servers import RedisServer
from tests.store.backends import RedisBackend
from tests.store.calls import V, append, append_and_read_all, new, put
from tests.store.contract import StoreContract
from tests.store.random_operations import compare_with_model

pytestmark = pytest.mark.anyio


@pytest.fixture
def backend(shared_redis: RedisServer) -> RedisBackend:
    # These tests are about meaning, not about time: a busy machine that is slow to sync must not fail them.
    backend = RedisBackend(shared_redis, timeout=30.0)
    with backend.client() as client:
        client.flushall()
    return backend


class TestRedis(StoreContract):
    pass


def test_random_operations_agree_with_the_model(backend: RedisBackend) -> None:
    compare_with_model(backend, examples=100)


async def test_the_keys_of_a_user_share_a_slot(backend: RedisBackend) -> None:
    store = await backend.open()
    with backend.client() as client:
        for user_id in ("u", "{x}", "}{", "{}", "a:b"):
            await append(store, user_id, new("a", "x"))
            assert all(client.exists(key) for key in keys(user_id))
            touched = (*keys(user_id), deletions_key(user_id))
            assert len({key_slot(key.encode()) for key in touched}) == 1
    await store.close()


async def test_a_memo_of_an_event_that_a_failover_has_undone_is_refused(backend: RedisBackend) -> None:
    store = await backend.open()
    await append(store, "u", new("a", "1"))
    with backend.client() as client:
        replica = {key: client.dump(key) for key in client.scan_iter()}
        undone = await append(store, "u", new("b", "2"))
        for key in client.scan_iter():
            client.delete(key)
        for key, value in replica.items():
            client.restore(key, 0, value)
        await asyncio.sleep(0.01)  # the stream's ids are milliseconds, and a failover takes many
    there = await append(store, "u", new("c", "3"))
    assert (undone.generation, undone.sequence) == (there.generation, there.sequence)
    puts = [next_snapshot("u", V, view, None, b"state") for view in (undone, there)]
    assert await store.put_snapshots(puts) == [False, True]
    older = await append(store, "u", new("d", "4"))
    await append(store, "u", new("e", "5"))
    assert await store.put_snapshots([next_snapshot("u", "2", undone, None, b"state")]) == [False]
    assert await store.put_snapshots([next_snapshot("u", "2", older, None, b"state")]) == [True]
    await store.close()


async def test_scripts_survive_a_flush(backend: RedisBackend) -> None:
    store = await backend.open()
    with backend.client() as client:

        def forget() -> None:
            client.script_flush()

        forget()
        requests = [AppendAndRead("u", V, (new(f"i{n}"),)) for n in range(5)]
        views = await append_and_read_all(store, requests)
        assert [s.appended for s in views] == [(Appended(n, False),) for n in range(1, 6)]
        forget()
        views = await append_and_read_all(store, [AppendAndRead(f"u{n}", V, (new("a"),)) for n in range(5)])
        assert [s.appended for s in views] == [(Appended(1, False),)] * 5
        forget()
        assert await put(store, "u", 5)
        forget()
        assert (await store.history("u", None, 2)) is not None
        forget()
        assert await store.delete_event("u", "seq-1")
        forget()
        assert await store.delete_user("u") == 4
    backend.check()
    await store.close()
