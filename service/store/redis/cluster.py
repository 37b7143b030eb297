"""A Redis Cluster: each call goes to the primary that owns its slot, those of one primary in one exchange.

The client library's own cluster client repeats calls whose outcome is unknown, and cannot ask a connection to WAIT
for what it wrote. Here a call is sent again only when the server says that it did nothing with it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context
from functools import cache
from typing import Any
from zlib import crc32

from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MasterDownError, MovedError, ResponseError, TryAgainError

from service.core.errors import StoreUnavailable
from service.store.errors import StoreUnreachableError
from service.store.redis.layout import TAGS, Script
from service.store.redis.node import Call, Node
from service.store.redis.url import Address

# A slot that is being moved or has just lost its primary: the others of the batch must not wait long for it.
_ROUNDS = 4
_PAUSE_SECONDS = 0.02
_REFRESH_PAUSE_SECONDS = 0.1


class Cluster:
    """See `Deployment` in redis.py. `seeds` are some of its nodes; the others are found by asking those."""

    def __init__(self, seeds: Sequence[Address], make_node: Callable[[Address], Node], budget: float) -> None:
        self._seeds = tuple(seeds)
        self._make_node = make_node
        self._budget = budget
        self._nodes: dict[Address, Node] = {}
        self._owners: dict[int, Address] = {}  # by slot, for the slots of our keys
        self._refresh_task: asyncio.Task[None] | None = None

    async def run(self, script: Script, calls: Sequence[Call], *, load: bool = False) -> list[Any]:
        """See `Deployment.run`."""
        deadline = asyncio.get_running_loop().time() + self._budget
        replies: list[Any] = [None] * len(calls)
        asked: dict[str, Address] = {}  # by user's key: where a slot that is being moved is said to be
        left = list(range(len(calls)))
        for attempt in range(_ROUNDS):
            groups: dict[tuple[Address | None, bool], list[int]] = {}
            for index in left:
                key = calls[index].keys[0]
                owner = self._owners.get(_slot(key))
                groups.setdefault((asked.get(key, owner), key in asked), []).append(index)
            await asyncio.gather(
                *(
                    self._run_group(deadline, script, calls, load or attempt > 0, where, asking, group, replies)
                    for (where, asking), group in groups.items()
                )
            )
            left, unsettled = self._sent_elsewhere(calls, left, replies, asked)
            if not left:
                break
            if unsettled:
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
        where: Address | None,
        asking: bool,
        group: list[int],
        replies: list[Any],
    ) -> None:
        """Send the calls of `group` to one node and put what comes back among `replies`."""
        try:
            if where is None:
                raise self._unavailable("has no server for the user's data")
            wanted = [calls[index] for index in group]
            found = await self._node(where).run_until(deadline, script, wanted, load=load, asking=asking)
        except StoreUnavailable as error:
            found = [error] * len(group)
            self._refresh_soon()
        for index, reply in zip(group, found, strict=True):
            # An empty host means the one that was asked.
            if isinstance(reply, AskError) and not reply.host and where is not None:
                reply.node_addr = reply.host, reply.port = where.host, reply.port
            replies[index] = reply

    def _sent_elsewhere(
        self, calls: Sequence[Call], left: list[int], replies: list[Any], asked: dict[str, Address]
    ) -> tuple[list[int], bool]:
        """Which of `left` did nothing and may be sent again, and whether that should wait a moment."""
        again: list[int] = []
        unsettled = False
        overtaken: set[str] = set()
        for index in reversed(left):
            reply, key = replies[index], calls[index].keys[0]
            if not isinstance(reply, AskError | TryAgainError | ClusterDownError) or isinstance(
                reply, MasterDownError
            ):
                overtaken.add(key)
            elif key in overtaken:
                # A later call of the same user took effect; sent again, this one would come after it.
                replies[index] = self._unavailable("is moving the user's data")
            else:
                again.append(index)
        for index in reversed(again):
            reply, key = replies[index], calls[index].keys[0]
            if isinstance(reply, MovedError):
                self._owners[_slot(key)] = Address(reply.host, reply.port)
                asked.pop(key, None)
                self._refresh_soon()
            elif isinstance(reply, AskError):
                asked[key] = Address(reply.host, reply.port)
            else:
                asked.pop(key, None)
                unsettled = True
                self._refresh_soon()
        return again[::-1], unsettled

    async def scan(self, cursor: str, pattern: str, count: int) -> tuple[list[bytes], str]:
        """See `Deployment.scan`: one primary after the other, and all over again once a slot has another owner."""
        primaries = self._primaries()
        if not primaries:
            raise self._unavailable("cannot be reached or is not ready")
        layout = str(crc32(repr(sorted(self._owners.items())).encode()))
        begun, _, rest = cursor.partition("/")
        place, _, within = rest.partition("/") if begun == layout else ("0", "", "")
        number = int(place)
        while True:
            keys, following = await primaries[number].scan(within, pattern, count)
            if following:
                return keys, f"{layout}/{number}/{following}"
            number, within = number + 1, ""
            if keys or number == len(primaries):
                return keys, f"{layout}/{number}/" if number < len(primaries) else ""

    async def ping(self) -> None:
        """See `Deployment.ping`. A cluster is up while one primary answers: its users can be served."""
        primaries = self._primaries()
        failures = await asyncio.gather(*(node.ping() for node in primaries), return_exceptions=True)
        failed = [failure for failure in failures if failure is not None]
        if failed or not primaries:
            self._refresh_soon()
        if len(failed) == len(primaries):
            raise failed[0] if failed else self._unavailable("cannot be reached or is not ready")

    async def check(self) -> None:
        """See `Deployment.check`."""
        try:
            await self._refresh()
        except StoreUnavailable:
            # What is wrong with the first is what the operator should read.
            seed = self._make_node(self._seeds[0])
            try:
                await seed.check(cluster=True)
            finally:
                await seed.close()
            raise StoreUnreachableError(
                f"{seed.place} cannot tell the cluster's nodes; correct the state URL."
            ) from None
        if len(self._owners) < len(_slots()):
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
        """Ask anew which primary owns what, at most every `_REFRESH_PAUSE_SECONDS`."""
        if self._refresh_task is None:
            self._refresh_task = asyncio.create_task(self._refresh_quietly(), context=Context())

    async def _refresh_quietly(self) -> None:
        with suppress(StoreUnavailable):  # the next call that fails asks again
            await self._refresh()
        await asyncio.sleep(_REFRESH_PAUSE_SECONDS)
        self._refresh_task = None

    async def _refresh(self) -> None:
        """Learn the owners from the first node that answers; raises `StoreUnavailable` if none does."""
        known = list(self._nodes)
        random.shuffle(known)  # one whose view is old must not be asked every time
        for address in dict.fromkeys((*known, *self._seeds)):
            # A node that hangs must leave time to ask the others.
            deadline = asyncio.get_running_loop().time() + self._budget / 4
            try:
                [ranges] = await self._node(address).exchange([("CLUSTER", "SLOTS")], deadline)
            except StoreUnavailable:
                continue
            # A node that was taken out of the cluster knows of no slots.
            if not isinstance(ranges, ResponseError) and ranges:
                return await self._learn(ranges, address)
        raise self._unavailable("cannot be reached or is not ready")

    async def _learn(self, ranges: Sequence[Sequence[Any]], teller: Address) -> None:
        owners: dict[int, Address] = {}
        for first, last, primary, *_ in ranges:
            for slot in _slots():
                if first <= slot <= last:
                    owners[slot] = _address(primary, teller)
        self._owners = owners
        members = {_address(server, teller) for _, _, *servers in ranges for server in servers}
        for address in members:
            self._node(address)
        gone = [self._nodes.pop(address) for address in list(self._nodes) if address not in members]
        for node in gone:
            await node.close()

    def _unavailable(self, what: str) -> StoreUnavailable:
        return StoreUnavailable(f"the event log {what}", for_log=f"the Redis cluster {what}")


def _address(server: Sequence[Any], teller: Address) -> Address:
    host = (server[0] or b"").decode()
    return Address(host if host not in ("", "?") else teller.host, server[1])


@cache
def _slots() -> frozenset[int]:
    return frozenset(key_slot(tag.encode()) for tag in TAGS)


@cache
def _slot_of_tag(tag: str) -> int:
    return key_slot(tag.encode())


def _slot(key: str) -> int:
    return _slot_of_tag(key[: key.index("}") + 1])
