"""Bytes and commands of one script of the catalogue."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from service.core.catalogue_store import MAX_ATTRIBUTES, MAX_FILTERS, ItemWrite, StoredItem
from service.store.redis.deployments.deployment import Call
from service.store.redis.deployments.node import Node
from service.store.redis.deployments.pools import server_pool
from service.store.redis.deployments.url import parse_url
from service.store.redis.layout import DEFINITION_KEYS
from service.store.redis.lua_scripts import Script
from service.store.redis.redis_catalogue import MAX_BYTES, MAX_READ, MAX_READ_BY_ID, RedisCatalogue
from tests.store.backends import RedisBackend
from tests.store.contract_catalogue_changes import IDS, SHARD, START

pytestmark = pytest.mark.anyio

ITEM_BYTES = 16 * 1024  # the largest item
LARGE = 200  # items of that size
EXPRESSION = "price < 1 OR " * 300


class SizingNode(Node):
    """A server that keeps the largest call and the largest reply."""

    def __init__(self, backend: RedisBackend) -> None:
        target = parse_url(backend.url)
        super().__init__(server_pool(target, target.addresses[0], 30.0), "Redis", 30.0)
        self.calls = self.largest = 0

    async def run(self, script: Script, calls: Sequence[Call], **options: Any) -> list[Any]:
        replies = await super().run(script, calls, **options)
        self.calls += len(calls)
        self.largest = max(self.largest, *(size_of(each.arguments) for each in calls), *map(size_of, replies))
        return replies


def size_of(value: Any) -> int:
    if isinstance(value, list | tuple):
        return sum(map(size_of, value))
    return len(value) if isinstance(value, bytes | str) else 0


@pytest.fixture
async def node(backend: RedisBackend) -> AsyncIterator[SizingNode]:
    node = SizingNode(backend)
    yield node
    await node.close()


@pytest.fixture
async def catalogue(node: SizingNode) -> RedisCatalogue:
    return RedisCatalogue(node)


async def fill(catalogue: RedisCatalogue, ids: Sequence[str], size: int) -> None:
    await catalogue.write_items([ItemWrite(item_id, item_id.encode().ljust(size)) for item_id in ids])


async def test_scripts_of_large_items_are_bounded_in_bytes(catalogue: RedisCatalogue, node: SizingNode) -> None:
    ids = IDS[:LARGE]
    await fill(catalogue, ids, ITEM_BYTES)
    found: list[StoredItem] = []
    cursor = ""
    while page := await catalogue.scan(SHARD, cursor, MAX_READ):
        found += page.items
        cursor = page.cursor
        if not cursor:
            break
    assert {item.item_id for item in found} == set(ids)
    assert await catalogue.changes(SHARD, START, MAX_READ) is not None
    assert node.largest <= MAX_BYTES + 32 * (ITEM_BYTES + 300)  # a step of a scan is some 16 items
    assert node.calls >= 2 * LARGE * ITEM_BYTES // MAX_BYTES


async def test_read_of_large_items_is_bounded_in_bytes(catalogue: RedisCatalogue, node: SizingNode) -> None:
    await fill(catalogue, IDS[:LARGE], ITEM_BYTES)
    node.largest = 0
    items = await catalogue.read_items(IDS[:LARGE])
    assert [item.item_id for item in items if item is not None] == IDS[:LARGE]
    assert node.largest <= MAX_READ_BY_ID * (ITEM_BYTES + 300)


async def test_item_that_changed_often_counts_each_time_it_is_read(
    catalogue: RedisCatalogue, backend: RedisBackend
) -> None:
    for number in range(LARGE):
        await catalogue.write_items([ItemWrite(IDS[0], b"%d" % number + bytes(ITEM_BYTES))])
    with backend.client() as client:
        client.config_resetstat()
        found = await catalogue.changes(SHARD, START, MAX_READ)
        assert client.info("commandstats")["cmdstat_hget"]["calls"] <= 1 + MAX_BYTES // ITEM_BYTES
    assert found is not None and found.more


async def test_many_definitions_are_read_in_pages(
    catalogue: RedisCatalogue, node: SizingNode, backend: RedisBackend
) -> None:
    filters = {f"f{number}": f"{EXPRESSION}price < {number}" for number in range(MAX_FILTERS)}
    with backend.client() as client:
        client.hset(
            DEFINITION_KEYS[0], mapping={f"f:{name}": b"\1" + text.encode() for name, text in filters.items()}
        )
        client.hset(DEFINITION_KEYS[0], mapping={f"a:a{n}": b"\1number" for n in range(MAX_ATTRIBUTES)})
    found = await catalogue.definitions()
    assert found.filters == filters
    assert len(found.attributes) == MAX_ATTRIBUTES
    assert node.largest <= MAX_BYTES + 5000
    assert node.calls > len(EXPRESSION) * MAX_FILTERS // MAX_BYTES


async def test_definitions_that_change_between_pages_are_read_again(
    catalogue: RedisCatalogue, node: SizingNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        await catalogue.set_filter(f"f{number}", None, EXPRESSION)
    run, changes = Node.run, iter(["f99"])

    async def changing(self: Node, script: Script, calls: Sequence[Call], **options: Any) -> list[Any]:
        replies = await run(self, script, calls, **options)
        if calls[0].keys == DEFINITION_KEYS and (name := next(changes, "")):
            await catalogue.set_filter(name, EXPRESSION, "price < 1")
        return replies

    monkeypatch.setattr(Node, "run", changing)
    found = await catalogue.definitions()
    assert len(found.filters) == 100
    assert found.filters["f99"] == "price < 1"
    assert found == await catalogue.definitions()
