"""RECBLR_REDIS_WAIT: replicas that must have a write before it is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from redis import Redis

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, Appended, LogView
from tests.deployments import in_sync, wait_for
from tests.servers import RedisServer, free_port
from tests.store.backends import RedisBackend
from tests.store.calls import V, append, new, put, read, sequences

pytestmark = pytest.mark.anyio


@pytest.fixture
def servers() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary and a replica that synchronizes without delay."""
    with (
        RedisServer(repl_diskless_sync_delay="0") as primary,
        RedisServer(replicaof=f"127.0.0.1 {primary.port}") as replica,
    ):
        wait_for("the replica to be in sync", lambda: in_sync(primary))
        yield primary, replica


async def test_write_that_the_replica_lacks_is_not_acknowledged(servers: tuple[RedisServer, RedisServer]) -> None:
    primary, replica = servers
    store = await RedisBackend(primary, min_replicas=1).open()
    await append(store, "u", new("a", "e1"), new("b", "e2"))
    replica.pause()
    entries = await store.append_and_read(
        [AppendAndRead("v", V), AppendAndRead("u", V, (new("c", "e3"),)), AppendAndRead("u", V)]
    )
    # Reads are served, although a failover may lose what they return.
    assert [type(entry) for entry in entries] == [LogView, StoreUnavailable, LogView]
    # The duplicate writes nothing new, and must not be acknowledged either.
    with pytest.raises(StoreUnavailable, match="has not got the write onto enough replicas"):
        await append(store, "u", new("c", "e3"))
    with pytest.raises(StoreUnavailable, match="replicas"):
        await store.delete_event("u", "e1")
    with pytest.raises(StoreUnavailable, match="replicas"):
        await store.delete_event("u", "e1")
    with pytest.raises(StoreUnavailable, match="replicas"):
        await store.delete_user("nobody")
    assert await put(store, "u", 3)  # snapshots do not wait: they can be computed again
    replica.resume()
    wait_for("the replica to be in sync", lambda: in_sync(primary))
    assert (await append(store, "u", new("c", "e3"))).appended == (Appended(3, True),)
    assert not await store.delete_event("u", "e1")
    assert sequences((await read(store, "u", None)).pending) == [2, 3]
    await store.close()


async def test_duplicate_is_acknowledged_on_a_full_server_too(servers: tuple[RedisServer, RedisServer]) -> None:
    primary, _ = servers
    backend = RedisBackend(primary, min_replicas=1)
    store = await backend.open()
    await append(store, "u", new("a", "e1"))
    before = backend.fields("u")
    with Redis(port=primary.port) as client:
        client.config_set("maxmemory", 1)
        assert (await append(store, "u", new("a", "e1"))).appended == (Appended(1, True),)
        client.config_set("maxmemory", 0)
    assert backend.fields("u") == before
    await store.close()


async def test_server_that_became_a_replica_is_unavailable(servers: tuple[RedisServer, RedisServer]) -> None:
    primary, replica = servers
    store = await RedisBackend(primary, min_replicas=1).open()
    await append(store, "u", new("a", "e1"))
    replica.pause()
    waiting = asyncio.create_task(append(store, "u", new("b", "e2")))
    await asyncio.sleep(0.1)
    with Redis(port=primary.port) as client:
        client.replicaof("127.0.0.1", free_port())  # Redis ends WAIT with an error
        with pytest.raises(StoreUnavailable, match="takes no events"):
            await waiting
        # Redis has closed the connection of that WAIT, which the next call finds out.
        with suppress(StoreUnavailable):
            await store.ping()
        for event in (new("b", "e2"), new("c")):
            with pytest.raises(StoreUnavailable, match="takes no events"):
                await append(store, "u", event)
        # This call writes nothing, so only WAIT is refused.
        with pytest.raises(StoreUnavailable, match="takes no events"):
            await store.compare_and_set("name", "another text", "text")
        replica.resume()
        client.replicaof("NO", "ONE")
    await store.close()


async def test_acknowledged_events_survive_a_failover(
    servers: tuple[RedisServer, RedisServer],
) -> None:
    primary, replica = servers
    store = await RedisBackend(primary, min_replicas=1).open()
    acknowledged: dict[str, int] = {}
    enough = asyncio.Event()
    killed = False

    async def write(writer: int) -> None:
        for n in range(1000):
            try:
                view = await append(store, f"u{writer}", new("a", f"{writer}-{n}"))
            except StoreUnavailable:
                if killed:
                    return
                await asyncio.sleep(0.05)  # a busy machine; not acknowledged
                continue
            acknowledged[f"{writer}-{n}"] = view.sequence
            if len(acknowledged) > 100:
                enough.set()

    writers = [asyncio.create_task(write(n)) for n in range(8)]
    async with asyncio.timeout(20):
        await enough.wait()
    primary.kill()
    killed = True
    await asyncio.gather(*writers)
    with Redis(port=replica.port) as client:
        client.replicaof("NO", "ONE")
    promoted = await RedisBackend(replica).open()
    found = {
        event.event_id: event.sequence for n in range(8) for event in (await read(promoted, f"u{n}", None)).pending
    }
    assert {event_id: found.get(event_id) for event_id in acknowledged} == acknowledged
    await promoted.close()
    await store.close()
