"""Vectors of new items on Redis: failovers, replicas, formats and bounds."""

from __future__ import annotations

import pytest

from service.core.errors import StoreUnavailable
from service.core.new_items.vector_store import START, ItemVectorStore
from service.store.factory import OpenedStore
from service.store.redis.layout import vector_keys
from tests.deployments import in_sync, wait_for
from tests.servers import RedisServer
from tests.store.backends import RedisBackend
from tests.store.contract_item_vectors import V1, append, read_all, vector

pytestmark = pytest.mark.anyio

VECTORS, ORDER, VERSIONS = vector_keys(V1)


@pytest.fixture
def vectors(store: OpenedStore) -> ItemVectorStore:
    return store.item_vectors


async def test_entry_that_a_failover_undid_is_an_unknown_position(
    backend: RedisBackend, vectors: ItemVectorStore
) -> None:
    [kept] = await append(vectors, "a")
    with backend.undo_as_a_failover():
        [undone] = await append(vectors, "b")
    assert await vectors.read(V1, undone.position, 10) is None
    [again] = await append(vectors, "c")
    assert again.number == undone.number
    assert await vectors.read(V1, undone.position, 10) is None
    page = await vectors.read(V1, kept.position, 10)
    assert page is not None and page.entries == (again,)


async def test_known_vector_that_the_replica_lacks_is_not_acknowledged() -> None:
    with (
        RedisServer(repl_diskless_sync_delay="0") as primary,
        RedisServer(replicaof=f"127.0.0.1 {primary.port}") as replica,
    ):
        wait_for("the replica to be in sync", lambda: in_sync(primary))
        store = await RedisBackend(primary, min_replicas=1).open()
        [first] = await append(store.item_vectors, "a")
        replica.pause()
        for item_id in ("b", "a"):
            with pytest.raises(StoreUnavailable, match="replicas"):
                await append(store.item_vectors, item_id)
        replica.resume()
        wait_for("the replica to be in sync", lambda: in_sync(primary))
        assert await append(store.item_vectors, "a") == [first]
        assert [entry.item_id for entry in await read_all(store.item_vectors)] == ["a", "b"]
        await store.close()


async def test_vector_of_another_format_is_refused_and_unchanged(
    backend: RedisBackend, vectors: ItemVectorStore
) -> None:
    [entry] = await append(vectors, "a")
    with backend.client() as client:
        client.hset(VECTORS, "a", b"\2" + client.hget(VECTORS, "a")[1:])
    before = backend.contents()
    for work in (append(vectors, "a"), vectors.read(V1, entry.position, 1), vectors.read(V1, START, 1)):
        with pytest.raises(StoreUnavailable) as error:
            await work
        assert "an item's vector has format 2," in error.value.for_log
    assert backend.contents() == before


async def test_script_call_is_bounded_in_items_and_bytes(backend: RedisBackend, vectors: ItemVectorStore) -> None:
    with backend.client() as client:
        client.config_resetstat()
        await vectors.append(V1, [(f"i{n}", vector(n)) for n in range(300)])
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 3
        await vectors.append(V1, [(f"large{n}", vector(n, 100_000)) for n in range(4)])
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 5


async def test_full_server_refuses_vectors_and_serves_reads(backend: RedisBackend, vectors: ItemVectorStore) -> None:
    kept = await append(vectors, "a")
    with backend.client() as client:
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreUnavailable):
                await append(vectors, "b")
            assert await read_all(vectors) == kept
        finally:
            client.config_set("maxmemory", 0)
    assert await read_all(vectors) == kept


async def test_forgotten_list_leaves_no_key(backend: RedisBackend, vectors: ItemVectorStore) -> None:
    await append(vectors, "a", "b")
    await vectors.forget(V1)
    with backend.client() as client:
        assert client.exists(VECTORS, ORDER, VERSIONS) == 0
