"""A Redis Cluster.

Each call goes to the primary that owns its slot, and the calls of one primary share a pipeline. Decision 0029
says why the client library's cluster client is not used. A call is sent again only after a reply that says that the
server did nothing: MOVED, ASK, TRYAGAIN or CLUSTERDOWN.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any
from zlib import crc32

from redis.exceptions import AskError, ClusterDownError, MasterDownError, MovedError, ResponseError, TryAgainError

from service.core.errors import StoreUnavailable
from service.store.errors import StoreUnreachableError
from service.store.redis.deployments.deployment import Call
from service.store.redis.deployments.node import Node
from service.store.redis.deployments.slots import parse_slots, slot_of, used_slots
from service.store.redis.deployments.url import Address
from service.store.redis.lua_scripts import Script

# Bounds for a slot that is being moved or has lost its primary: the other users of the batch wait that long.
_MAX_ATTEMPTS = 4
_PAUSE_SECONDS = 0.02
_REFRESH_PAUSE_SECONDS = 0.1


class Cluster:
    """A `Deployment` of several primaries.

    The map from slots to primaries comes from CLUSTER SLOTS, and is read again whenever a reply or an error shows
    that it may be out of date.
    """

    one_server = False

    def __init__(
        self, seeds: Sequence[Address], make_node: Callable[[Address], Node], timeout_seconds: float
    ) -> None:
        """Find the cluster through any of the nodes at `seeds`.

        `make_node` connects to the node at an address.
        """
        self._seeds = tuple(seeds)
        self._make_node = make_node
        self._timeout = timeout_seconds
        self._nodes: dict[Address, Node] = {}
        self._owners: dict[int, Address] = {}  # by slot, for the slots of our keys
        self._refresh_task: asyncio.Task[None] | None = None

    async def run(self, script: Script, calls: Sequence[Call], *, load: bool = False) -> list[Any]:
        """See `Deployment.run`."""
        deadline = asyncio.get_running_loop().time() + self._timeout
        replies: list[Any] = [None] * len(calls)
        asked: dict[str, Address] = {}  # by the call's first key: the server that ASK named
        left = list(range(len(calls)))
        for attempt in range(_MAX_ATTEMPTS):
            groups: dict[tuple[Address | None, bool], list[int]] = {}
            for index in left:
                key = calls[index].keys[0]
                owner = self._owners.get(slot_of(key))
                groups.setdefault((asked.get(key, owner), key in asked), []).append(index)
            await asyncio.gather(
                *(
                    self._run_group(deadline, script, calls, load or attempt > 0, address, asking, group, replies)
                    for (address, asking), group in groups.items()
                )
            )
            left, pause = self._redirected(calls, left, replies, asked)
            if not left:
                break
            if pause:
                await asyncio.sleep(_PAUSE_SECONDS)
        for index in left:
            replies[index] = self._unavailable("is moving the user's data")
        return replies

    async def _run_group(
        self,
        deadline: float,
        script: Script,
        calls: Sequence[Call],
        load: bool,
        address: Address | None,
        asking: bool,
        group: list[int],
        replies: list[Any],
    ) -> None:
        """Run the calls at the indices `group` on one node; fill `replies`."""
        if address is None:
            found: list[Any] = [self._unavailable("has no server for the user's data")] * len(group)
        else:
            selected = [calls[index] for index in group]
            found = await self._node(address).run(script, selected, load=load, asking=asking, deadline=deadline)
        if any(isinstance(reply, StoreUnavailable) for reply in found):
            self._refresh_soon()
        for index, reply in zip(group, found, strict=True):
            # ASK with an empty host means the server that replied.
            if isinstance(reply, AskError) and not reply.host and address is not None:
                reply.node_addr = reply.host, reply.port = address.host, reply.port
            replies[index] = reply

    def _redirected(
        self, calls: Sequence[Call], left: list[int], replies: list[Any], asked: dict[str, Address]
    ) -> tuple[list[int], bool]:
        """Return the calls to send again, and whether to pause before.

        Updates `asked` and the owners from the replies.
        """
        again, done, pause = list[int](), set[str](), False
        for index in reversed(left):
            reply, key = replies[index], calls[index].keys[0]
            if not isinstance(reply, AskError | TryAgainError | ClusterDownError) or isinstance(
                reply, MasterDownError
            ):
                done.add(key)
            elif key in done:
                # A later call of the same user took effect, so sending this one again would break the order.
                replies[index] = self._unavailable("is moving the user's data")
            else:
                again.append(index)
        for index in reversed(again):
            reply, key = replies[index], calls[index].keys[0]
            if isinstance(reply, MovedError):  # a subclass of AskError
                self._owners[slot_of(key)] = Address(reply.host, reply.port)
                asked.pop(key, None)
                self._refresh_soon()
            elif isinstance(reply, AskError):
                asked[key] = Address(reply.host, reply.port)
            else:
                asked.pop(key, None)
                pause = True
                self._refresh_soon()
        return again[::-1], pause

    async def scan(self, cursor: str, pattern: str, count: int) -> tuple[list[bytes], str]:
        """See `Deployment.scan`.

        Scans one primary after the other, and starts again if a slot changes its owner.
        A cursor is "<checksum of the owners>/<number of the primary>/<cursor of that primary>".
        """
        primaries = self._primaries()
        if not primaries:
            raise self._unavailable("cannot be reached or is not ready")
        owners = str(crc32(repr(sorted(self._owners.items())).encode()))
        seen_owners, _, rest = cursor.partition("/")
        position, _, within = rest.partition("/") if seen_owners == owners else ("0", "", "")
        number = int(position)
        while True:
            keys, following = await primaries[number].scan(within, pattern, count)
            if following:
                return keys, f"{owners}/{number}/{following}"
            number, within = number + 1, ""
            if keys or number == len(primaries):
                return keys, f"{owners}/{number}/" if number < len(primaries) else ""

    async def ping(self) -> None:
        """See `Deployment.ping`. One primary that answers is enough."""
        primaries = self._primaries()
        results = await asyncio.gather(*(node.ping() for node in primaries), return_exceptions=True)
        failures = [result for result in results if result is not None]
        if failures or not primaries:
            self._refresh_soon()
        if len(failures) == len(primaries):
            raise failures[0] if failures else self._unavailable("cannot be reached or is not ready")

    async def memory_used(self) -> float | None:
        """See `Deployment.memory_used`."""
        found = await asyncio.gather(*(node.memory_used() for node in self._primaries()), return_exceptions=True)
        return max((used for used in found if isinstance(used, float)), default=None)

    async def check(self) -> None:
        """See `Deployment.check`."""
        try:
            await self._refresh()
        except StoreUnavailable:
            seed = self._make_node(self._seeds[0])
            try:
                await seed.check(cluster=True)
            finally:
                await seed.close()
            raise StoreUnreachableError(
                f"{seed.name} does not answer CLUSTER SLOTS; correct the state URL."
            ) from None
        if len(self._owners) < len(used_slots()):
            raise StoreUnreachableError(
                "the Redis cluster has slots without a server; complete it (redis-cli --cluster fix)."
            )
        for node in self._primaries():
            await node.check(cluster=True)

    async def close(self) -> None:
        """See `Deployment.close`."""
        if self._refresh_task is not None:
            self._refresh_task.cancel()
        for node in self._nodes.values():
            await node.close()

    def _primaries(self) -> list[Node]:
        return [self._node(address) for address in sorted(set(self._owners.values()))]

    def _node(self, address: Address) -> Node:
        if address not in self._nodes:
            self._nodes[address] = self._make_node(address)
        return self._nodes[address]

    def _refresh_soon(self) -> None:
        """Read the owners again, in the background and not too often."""
        if self._refresh_task is None:
            self._refresh_task = asyncio.create_task(self._refresh_and_pause(), context=Context())

    async def _refresh_and_pause(self) -> None:
        with suppress(StoreUnavailable):  # the next call that fails starts another refresh
            await self._refresh()
        await asyncio.sleep(_REFRESH_PAUSE_SECONDS)
        self._refresh_task = None

    async def _refresh(self) -> None:
        """Read the owners; raises `StoreUnavailable` if no node answers."""
        known = list(self._nodes)
        random.shuffle(known)  # so that a node with an outdated view is not asked every time
        for address in dict.fromkeys((*known, *self._seeds)):
            # A quarter of the timeout each, so that a node that hangs leaves time for the others.
            deadline = asyncio.get_running_loop().time() + self._timeout / 4
            try:
                [ranges] = await self._node(address).pipeline([("CLUSTER", "SLOTS")], deadline)
            except StoreUnavailable:
                continue
            # A node that was removed from the cluster reports no slots.
            if not isinstance(ranges, ResponseError) and ranges:
                return await self._update_owners(ranges, address)
        raise self._unavailable("cannot be reached or is not ready")

    async def _update_owners(self, ranges: Sequence[Sequence[Any]], source: Address) -> None:
        """Apply the reply of `source` to CLUSTER SLOTS."""
        self._owners, members = parse_slots(ranges, source)
        for address in members:
            self._node(address)
        gone = [self._nodes.pop(address) for address in list(self._nodes) if address not in members]
        for node in gone:
            await node.close()

    def _unavailable(self, problem: str) -> StoreUnavailable:
        return StoreUnavailable(f"the event log {problem}", for_log=f"the Redis cluster {problem}")
