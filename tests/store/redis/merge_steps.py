"""Merges that stop or pause at one of their steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from service.core.errors import StoreUnavailable
from service.core.ports import Store
from service.store.redis.deployments.deployment import Call
from service.store.redis.deployments.node import Node
from service.store.redis.deployments.pools import server_pool
from service.store.redis.deployments.url import parse_url
from service.store.redis.lua_scripts import Script
from service.store.redis.user_merge.merge_protocol import UserMerge
from tests.store.backends import RedisBackend
from tests.store.calls import append, new, read

# The scripts of a merge of "v" into "u", who are in different shards; "w" and "x" are in others again.
STEPS = (
    *("detach", "grant_token", "read_detached", "read_target", "stage", "apply", "stream_moved", "discard"),
    "finalize",
)


class PausingNode(Node):
    """A server that calls `act` before or after one of the scripts."""

    def __init__(
        self, backend: RedisBackend, step: int, act: Callable[[], Awaitable[None]], after: bool = False
    ) -> None:
        target = parse_url(backend.url)
        super().__init__(server_pool(target, target.addresses[0], 30.0), "Redis", 30.0)
        self._left = step
        self._act = act
        self._after = after

    async def run(self, script: Script, calls: Sequence[Call], *, load: bool = False) -> list[Any]:
        self._left -= 1
        if self._left == -1 and not self._after:
            await self._act()
        replies = await super().run(script, calls, load=True)
        if self._left == -1 and self._after:
            await self._act()
        return replies


async def interrupt() -> None:
    raise StoreUnavailable("interrupted")


async def interrupt_merge(backend: RedisBackend, user_id: str, source: str, step: int, done: bool) -> None:
    """Stop a merge before a step, or after it if `done`."""
    node = PausingNode(backend, step, interrupt, done)
    with pytest.raises(StoreUnavailable, match="interrupted"):
        await UserMerge(node, 1000).merge(user_id, source)
    await node.close()


async def append_logs(store: Store) -> None:
    """The logs of "u" and "v", which share one event."""
    await append(store, "u", new("a", None, 1.0), new("c", "x", 3.0))
    await append(store, "v", new("b", None, 2.0), new("c", "x", 3.0), new("d", "y", 4.0))


async def items(store: Store, user_id: str) -> list[str]:
    return [event.item_id for event in (await read(store, user_id)).pending]
