"""Number of commands that one script runs: Redis does nothing else meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from service.store.redis.deployment import Call
from service.store.redis.lua_scripts import PIECE, Script
from service.store.redis.node import Node
from service.store.redis.pools import server_pool
from service.store.redis.store import RedisStore
from service.store.redis.url import parse_url
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
