"""The catalogue on Redis: failovers, restarts, formats and bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from service.core.catalogue_store import CatalogueStore, ItemWrite, ShardPosition, StoredItem, Written
from service.core.errors import StoreUnavailable
from service.store.factory import OpenedStore, open_store
from service.store.redis import redis_catalogue
from service.store.redis.layout import DEFINITION_KEYS, catalogue_keys
from tests.deployments import SentinelServers, in_sync, wait_for
from tests.servers import RedisServer
from tests.store.backends import LONG_TIMEOUT_SECONDS, RedisBackend
from tests.store.contract_catalogue import write
from tests.store.contract_catalogue_changes import IDS, ONE, SHARD, START, fill

pytestmark = pytest.mark.anyio

ITEMS, CHANGES = catalogue_keys(SHARD)


@pytest.fixture
def catalogue(store: OpenedStore) -> CatalogueStore:
    return store.catalogue


async def test_change_that_a_failover_undid_is_an_unknown_position(
    backend: RedisBackend, catalogue: CatalogueStore
) -> None:
    kept = await fill(catalogue, IDS[:5])
    with backend.undo_as_a_failover():
        undone = await fill(catalogue, IDS[5:7])
    assert await catalogue.changes(SHARD, undone, 10) is None
    again = await fill(catalogue, IDS[7:9])
    assert again.revision == undone.revision
    assert await catalogue.changes(SHARD, undone, 10) is None
    found = await catalogue.changes(SHARD, kept, 10)
    assert found is not None and [item.item_id for item in found.items] == IDS[7:9]


async def test_scan_is_not_continued_on_another_server(shared_redis: RedisServer) -> None:
    """Another server's cursor would skip items."""
    with RedisServer() as server:
        store = await RedisBackend(server, LONG_TIMEOUT_SECONDS).open()
        await fill(store.catalogue, IDS[:500])
        page = await store.catalogue.scan(SHARD, "", 10)
        assert page is not None and page.cursor
        assert await store.catalogue.scan(SHARD, page.cursor, 10) is not None
        server.kill()
        server.start()
        assert await eventually(lambda: store.catalogue.scan(SHARD, page.cursor, 10)) is None
        assert await store.catalogue.scan(SHARD, "", 10) is not None
        await store.close()


async def test_acknowledged_items_survive_kill_9() -> None:
    with RedisServer() as server:
        store = await RedisBackend(server).open()
        acknowledged: dict[str, int] = {}
        enough, killed = asyncio.Event(), asyncio.Event()

        async def writer(number: int) -> None:
            for n in range(10_000):
                item_id = f"{number}-{n % 7}"
                [outcome] = await store.catalogue.write_items([ItemWrite(item_id, b"%d" % n)])
                if isinstance(outcome, Written):
                    acknowledged[item_id] = n
                    if len(acknowledged) == 50:
                        enough.set()
                elif killed.is_set():
                    return

        writers = [asyncio.create_task(writer(number)) for number in range(8)]
        await enough.wait()
        killed.set()
        server.kill()
        await asyncio.gather(*writers)
        server.start()
        found = await eventually(lambda: store.catalogue.read_items([*acknowledged]))
        # The write after the acknowledged one may have taken effect too.
        lost = {item.item_id for item in found if int(item.record) < acknowledged[item.item_id]}
        assert not lost
        await store.close()


async def test_acknowledged_items_survive_a_failover_by_sentinels() -> None:
    with SentinelServers() as servers:
        store = await open_store(servers.url, 1000, min_replicas=1)
        position = await fill(store.catalogue, IDS[:20])
        await store.catalogue.set_attribute("price", None, "number")
        servers.primary.kill()
        found = await eventually(lambda: store.catalogue.changes(SHARD, START, 100))
        assert found is not None and found.position == position
        assert [item.item_id for item in found.items] == IDS[:20]
        assert (await store.catalogue.definitions()).attributes == {"price": "number"}
        # The only replica is the primary now: written, on no replica, and so not acknowledged.
        stored: list[StoredItem | None] = [None]
        while stored == [None]:  # a write while it is being promoted may not arrive at all
            [outcome] = await store.catalogue.write_items([ItemWrite(IDS[20], ONE)])
            assert isinstance(outcome, StoreUnavailable)
            stored = await eventually(lambda: store.catalogue.read_items(IDS[20:21]))
        servers.primary.start()  # the sentinels make it the replica
        async with asyncio.timeout(30):
            while isinstance(outcome, StoreUnavailable):
                await asyncio.sleep(0.05)
                [outcome] = await store.catalogue.write_items([ItemWrite(IDS[20], ONE)])
        assert outcome[:3] == (21, False, False)
        await store.close()


async def test_unchanged_write_that_the_replica_lacks_is_not_acknowledged() -> None:
    """A repeated write stands for one that was not acknowledged."""
    with (
        RedisServer(repl_diskless_sync_delay="0") as primary,
        RedisServer(replicaof=f"127.0.0.1 {primary.port}") as replica,
    ):
        wait_for("the replica to be in sync", lambda: in_sync(primary))
        store = await RedisBackend(primary, min_replicas=1).open()
        catalogue = store.catalogue
        await write(catalogue, "a", b"one")
        assert await catalogue.set_filter("cheap", None, "price < 5")
        replica.pause()
        for _ in range(2):
            [outcome] = await catalogue.write_items([ItemWrite("a", b"one")])
            assert isinstance(outcome, StoreUnavailable)
            for text in ("price < 5", None):
                with pytest.raises(StoreUnavailable, match="replicas"):
                    await catalogue.set_filter("cheap", "price < 5", text)
        replica.resume()
        wait_for("the replica to be in sync", lambda: in_sync(primary))
        assert (await write(catalogue, "a", b"one"))[:3] == (1, False, False)
        assert (await catalogue.definitions()).filters == {}
        await store.close()


OPERATIONS: dict[str, Callable[[CatalogueStore], Coroutine[Any, Any, Any]]] = {
    "write": lambda catalogue: write(catalogue, IDS[0], b"two"),
    "write if": lambda catalogue: write(catalogue, IDS[0], b"two", 1),
    "read": lambda catalogue: catalogue.read_items([IDS[0]]),
    "changes": lambda catalogue: catalogue.changes(SHARD, START, 10),
    "scan": lambda catalogue: catalogue.scan(SHARD, "", 10),
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_item_of_another_format_is_refused_and_unchanged(
    backend: RedisBackend, catalogue: CatalogueStore, operation: str
) -> None:
    await fill(catalogue, IDS[:1])
    with backend.client() as client:
        client.hset(ITEMS, IDS[0], b"\2" + client.hget(ITEMS, IDS[0])[1:])
    before = backend.contents()
    assert "an item of the catalogue has format 2," in await refused(OPERATIONS[operation](catalogue))
    assert backend.contents() == before


@pytest.mark.parametrize("operation", [*OPERATIONS, "positions"])
async def test_change_of_another_format_is_refused(
    backend: RedisBackend, catalogue: CatalogueStore, operation: str
) -> None:
    await fill(catalogue, IDS[:1])
    with backend.client() as client:
        client.xadd(CHANGES, {"format": 2, "other": 1}, id="2-0")
    before = backend.contents()
    if operation == "positions":
        found = await catalogue.positions()
        assert [type(each) for each in found].count(StoreUnavailable) == 1
        assert isinstance(found[SHARD], StoreUnavailable)
    elif operation != "read":
        log = await refused(OPERATIONS[operation](catalogue))
        assert "a change of the catalogue has format 2," in log
    assert backend.contents() == before


async def test_definition_of_another_format_is_refused(backend: RedisBackend, catalogue: CatalogueStore) -> None:
    await catalogue.set_attribute("price", None, "number")
    with backend.client() as client:
        client.hset(DEFINITION_KEYS[0], "a:price", b"\2number")
    assert "a definition of the catalogue has format 2," in await refused(catalogue.definitions())
    assert "a definition of the catalogue has format 2," in await refused(
        catalogue.set_attribute("price", "number", "bool")
    )


async def test_script_call_is_bounded_in_items_and_bytes(backend: RedisBackend, catalogue: CatalogueStore) -> None:
    with backend.client() as client:
        client.config_resetstat()
        await fill(catalogue, IDS[:300])
        # Each call is one EVALSHA: 128, 128 and 44 items, then all positions.
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 3 + 1
        found = await catalogue.changes(SHARD, START, 10_000)
        assert found is not None and found.more and len(found.items) == redis_catalogue.MAX_READ
        await fill(catalogue, IDS[:40], bytes(16_000))
        found = await catalogue.changes(SHARD, found.position, 10_000)
        assert found is not None and found.more
        assert sum(len(item.record) for item in found.items) < redis_catalogue.MAX_BYTES + 16_100


async def test_full_server_refuses_writes_and_serves_reads(backend: RedisBackend, catalogue: CatalogueStore) -> None:
    position = await fill(catalogue, IDS[:3])
    with backend.client() as client:
        client.config_set("maxmemory", 1)
        try:
            [outcome] = await catalogue.write_items([ItemWrite(IDS[0], b"two")])
            assert isinstance(outcome, StoreUnavailable)
            with pytest.raises(StoreUnavailable):
                await catalogue.set_attribute("price", None, "number")
            assert await catalogue.changes(SHARD, position, 10) == (position, (), False)
            assert (await catalogue.definitions()).position == ShardPosition(0, "")
        finally:
            client.config_set("maxmemory", 0)
    assert (await catalogue.positions())[SHARD] == position


async def refused(work: Coroutine[Any, Any, Any]) -> str:
    """The operator's message of the refusal."""
    try:
        found = await work
    except StoreUnavailable as error:
        return error.for_log
    pytest.fail(f"not refused: {found}")


async def eventually(call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """The result once the store answers again."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.05)
