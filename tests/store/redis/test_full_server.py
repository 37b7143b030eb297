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
    with backend.client() as client, no_memory(client):
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
