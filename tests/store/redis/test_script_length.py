"""Number of commands that one script runs: Redis does nothing else meanwhile."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from service.store.redis import layout, lua_scripts
from service.store.redis.deployments.deployment import Call
from service.store.redis.deployments.node import Node
from service.store.redis.deployments.pools import server_pool
from service.store.redis.deployments.url import parse_url
from service.store.redis.lua_scripts import PIECE, Script
from service.store.redis.store import RedisStore
from tests.store.backends import RedisBackend
from tests.store.calls import append, new

pytestmark = pytest.mark.anyio

BATCH = 1000  # events of one request
LONG = 4 * PIECE + 10


class CountingNode(Node):
    """A server that keeps the most commands that one script has run."""

    def __init__(self, backend: RedisBackend) -> None:
        target = parse_url(backend.url)
        super().__init__(server_pool(target, target.addresses[0], 30.0), "Redis", 30.0)
        self._backend = backend
        self.most: dict[str, int] = {}

    async def run(self, script: Script, calls: Sequence[Call], *, load: bool = False) -> list[Any]:
        replies = []
        for call in calls:
            before = self._commands()
            replies += await super().run(script, [call], load=True)
            name = script.source.rstrip().splitlines()[-1]
            self.most[name] = max(self.most.get(name, 0), self._commands() - before)
        return replies

    def _commands(self) -> int:
        with self._backend.client() as client:
            return sum(each["calls"] for each in client.info("commandstats").values())


@pytest.fixture
async def node(backend: RedisBackend) -> AsyncIterator[CountingNode]:
    node = CountingNode(backend)
    yield node
    await node.close()


async def fill(store: RedisStore, user_id: str, events: int) -> None:
    for start in range(0, events, BATCH):
        numbers = range(start, min(start + BATCH, events))
        await append(store, user_id, *(new("item", f"{user_id}-{n}", float(n)) for n in numbers))


@pytest.mark.parametrize("events", [LONG, 2 * LONG])
async def test_merge_and_deletion_run_short_scripts_however_long_the_logs(
    backend: RedisBackend, node: CountingNode, events: int
) -> None:
    store = RedisStore(node, LONG)
    await fill(store, "u", events)
    await fill(store, "v", events)
    node.most.clear()
    merged = await store.merge("u", "v")
    assert merged is not None
    assert merged.moved == min(events, LONG)
    assert await store.delete_user("u") == LONG
    assert max(node.most.values()) <= 2 * PIECE + 60, node.most
    backend.check()


async def test_deletion_of_a_user_who_is_being_merged_runs_short_scripts(
    backend: RedisBackend, node: CountingNode
) -> None:
    store = RedisStore(node, LONG)
    await fill(store, "u", 1)
    await fill(store, "v", LONG)
    keys = (*layout.keys("v")[:2], layout.deletions_key("v"), layout.detached_key("v"), layout.token_key("v"))
    call = Call((*keys, *layout.detached_log_keys("v")), ("v", "u", 0, 0), durable=True)
    [reply] = await node.run(lua_scripts.DETACH, [call])
    assert reply[0] == b"detached"
    node.most.clear()
    assert await store.delete_user("v") == LONG
    assert max(node.most.values()) <= 60, node.most
    with backend.client() as client:
        assert not client.exists(layout.detached_key("v"), *layout.detached_log_keys("v"))
    backend.check()


async def test_expiry_runs_short_scripts_however_long_the_log(backend: RedisBackend, node: CountingNode) -> None:
    store = RedisStore(node, LONG, days_kept=1)
    await fill(store, "u", LONG)
    backend.make_older("u", 90_000.0)
    node.most.clear()
    assert await store.expire(["u"]) == LONG
    assert max(node.most.values()) <= 60, node.most
    backend.check()


async def test_batch_of_one_user_runs_a_command_for_each_event(backend: RedisBackend, node: CountingNode) -> None:
    store = RedisStore(node, BATCH)
    await fill(store, "u", 2 * BATCH)  # the second half replaces the first
    assert max(node.most.values()) <= BATCH + 60, node.most
    await fill(store, "u", 2 * BATCH)  # duplicates, and events that were removed
    backend.check()


async def test_pieces_in_the_middle_of_a_long_log_are_small(backend: RedisBackend, node: CountingNode) -> None:
    """Redis walks along the list to each entry that it replaces."""
    events, first = 60_000, 30_001
    user, log, stream = layout.keys("u")
    entry = struct.Struct("<BddHH")
    with backend.client() as client:
        client.hset(user, mapping={"head": struct.pack("<Bdd", 1, events, 0) + b"generation", "unstreamed": first})
        for start in range(1, events, BATCH):
            entries = [
                entry.pack(layout.ENTRY_FORMAT, n, 1.0, 1, 0) + b"i0-%d@5" % n for n in range(start, start + BATCH)
            ]
            client.rpush(log, *entries)
        client.config_resetstat()
        call = Call((user, log, stream, layout.deletions_key("u"), "{0}:replaced"), ("u",))
        assert await node.run(lua_scripts.STREAM_MOVED, [call]) == [1]
        ran = client.info("commandstats")
        assert 0 < ran["cmdstat_lset"]["calls"] <= PIECE / 4
        assert ran["cmdstat_lindex"]["calls"] <= 2  # a log without gaps is not searched
        assert int(client.hget(user, "unstreamed")) == first + ran["cmdstat_lset"]["calls"]


@pytest.mark.parametrize("removed", [[], [2, 3, 50], range(1, 40), range(60, 101)])
async def test_page_of_a_log_with_gaps_ends_before_its_sequence(
    backend: RedisBackend, removed: Sequence[int]
) -> None:
    store = RedisStore(CountingNode(backend), 1000)
    await fill(store, "u", 100)
    for sequence in removed:
        assert await store.delete_event("u", f"u-{sequence - 1}")
    kept = [sequence for sequence in range(1, 101) if sequence not in removed]
    for before in (1, 2, 4, 39, 51, 59, 60, 100, 101, 10**9):
        page = await store.history("u", before, 1000)
        assert page is not None
        assert [event.sequence for event in page.events] == [each for each in kept if each < before]
