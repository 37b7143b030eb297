"""A Redis server without memory for events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, Appended, LogView
from tests.servers import RedisServer
from tests.store.backends import RedisBackend
from tests.store.calls import V, append, new, put, read, sequences
from tests.store.redis.merge_steps import STEPS, append_logs, interrupt_merge

pytestmark = pytest.mark.anyio


@pytest.fixture
def backend() -> Iterator[RedisBackend]:
    """A server of its own for each test, which may break it."""
    with RedisServer() as server:
        yield RedisBackend(server)


@contextmanager
def no_memory(client: Any) -> Iterator[None]:
    client.config_set("maxmemory", 1)
    yield
    client.config_set("maxmemory", 0)


async def test_full_server_refuses_appends_as_a_whole_and_serves_the_rest(backend: RedisBackend) -> None:
    store = await backend.open(keep=3)
    await append(store, "u", new("a", "x"), new("b"), new("c"))
    assert await put(store, "u", 3)
    token = (await read(store, "u")).generation
    before = backend.contents()
    assert await store.memory_used() is None
    with backend.client() as client, no_memory(client):
        used = await store.memory_used()
        assert used is not None
        assert used > 1
        for user_id in ("u", "someone new"):
            with pytest.raises(StoreUnavailable, match="memory"):
                await append(store, user_id, new("a", "y"), new("b"), new("c"))
        with pytest.raises(StoreUnavailable, match="memory"):
            await put(store, "u", 3, repair=True, generation=token)
        assert backend.contents() == before
        # Operations that free memory or need none succeed.
        assert sequences((await read(store, "u", None)).pending) == [1, 2, 3]
        assert (await append(store, "u", new("a", "x"))).appended == (Appended(1, True),)
        assert await store.delete_event("u", "x")
        assert await store.delete_user("u") == 2
    assert (await append(store, "u", new("a", "y"))).sequence == 1
    backend.check()
    await store.close()


async def test_used_memory_is_a_fraction_of_the_limit(backend: RedisBackend) -> None:
    store = await backend.open()
    with backend.client() as client:
        client.config_set("maxmemory", 2 * client.info("memory")["used_memory"])
    used = await store.memory_used()
    assert used is not None
    assert 0.4 < used < 0.9
    await store.close()


async def test_merge_that_a_full_server_cut_off_is_finished_when_memory_is_back(backend: RedisBackend) -> None:
    """A deletion of the target needs no memory."""
    for cut in range(len(STEPS)):
        store = await backend.open()
        await append_logs(store)
        await interrupt_merge(backend, "u", "v", cut, True)
        with backend.client() as client, no_memory(client):
            if cut < STEPS.index("apply"):
                with pytest.raises(StoreUnavailable, match="memory"):
                    await store.finish_merges()
                assert await store.delete_user("v") == 3
                assert await store.delete_user("u") == 2
            else:
                assert await store.delete_user("u") == 4
            assert await store.finish_merges() == 0
        backend.check()
        await store.close()


async def test_refused_append_does_not_fail_the_reads_beside_it(backend: RedisBackend) -> None:
    store = await backend.open()
    await append(store, "u", new("a", "x"), new("b"))
    assert await put(store, "u", 1)
    before = await read(store, "u")
    requests = [
        AppendAndRead("u", V),
        AppendAndRead("u", V, (new("c"),)),
        AppendAndRead("someone new", V, (new("c", "y"),)),
        AppendAndRead("u", V, (new("a", "x"),)),
        AppendAndRead("u", V),
    ]
    with backend.client() as client, no_memory(client):
        for _ in ("warm", "after a flush"):
            read_first, refused, also_refused, duplicate, read_last = await store.append_and_read(requests)
            assert (read_first, read_last) == (before, before)
            assert isinstance(duplicate, LogView)
            assert duplicate.appended == (Appended(1, True),)
            for entry in (refused, also_refused):
                assert isinstance(entry, StoreUnavailable)
                assert "memory" in entry.message
            client.script_flush()
    appended = (await store.append_and_read(requests))[1]
    assert isinstance(appended, LogView)
    assert appended.appended == (Appended(3, False),)
    backend.check()
    await store.close()
