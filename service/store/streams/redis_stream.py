"""A Redis stream as a source of events: `core.consumer.EventSource`.

    <stream>                entries with the fields user_id, item_id and perhaps timestamp and event_id
    <stream>:<group>:lease  who reads; it expires
    <stream>:<group>:dead   what was refused: recblr:reason, recblr:entry_id, its own fields; the newest 100,000

All workers read under one consumer's name, and the lease says which of them does. So a restart leaves no dead
consumers behind, and entries that were pending under other names are claimed as well.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from service.core.errors import StoreUnavailable
from service.core.jobs.stream_consumer import LeaseLostError, RejectedEntry, StreamEntry
from service.store.errors import StoreUnreachableError
from service.store.redis.layout import Script
from service.store.redis.pools import shared_pool
from service.store.redis.url import parse_url

_log = logging.getLogger(__name__)

LEASE_MILLISECONDS = 3000
BUDGET_SECONDS = 1.0  # for one round trip
_CONNECTIONS = 2
_CONSUMER = "recblr"
_DEAD_KEPT = 100_000
_FENCED = Script("if_lease_held.lua")

_Reply = Any  # nested lists of bytes and numbers, as the command has it


async def open_stream(url: str, stream: str, group: str, budget: float = BUDGET_SECONDS) -> RedisStream:
    """The stream at the Redis of `url`, with its group, which begins at the stream's oldest entry if it is new.

    Raises `StoreRefusedError` where Redis is unreachable or refuses.
    """
    target = parse_url(url)
    pool = shared_pool(target, target.addresses[0], budget, _CONNECTIONS)
    source = RedisStream(Redis(connection_pool=pool), stream, group, budget)
    try:
        await source.create_group()
    except StoreUnavailable as error:
        await source.close()
        raise StoreUnreachableError(f"{error.for_log}; start it or correct the URL.") from None
    except BaseException:
        await source.close()
        raise
    return source


class RedisStream:
    """See `service.core.jobs.stream_consumer.EventSource`."""

    def __init__(self, client: Redis, stream: str, group: str, budget: float = BUDGET_SECONDS) -> None:
        self._client = client
        self._stream = stream
        self._group = group
        self._budget = budget
        self._lease, self._dead = f"{stream}:{group}:lease", f"{stream}:{group}:dead"
        self._owner = secrets.token_hex(8)

    async def create_group(self) -> None:
        """See that stream and group exist."""
        try:
            await self._call("XGROUP", "CREATE", self._stream, self._group, "0", "MKSTREAM")
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise self._unavailable(f"refuses the consumer group ({error})") from error

    async def acquire_lease(self) -> bool:
        """See `EventSource.acquire_lease`."""
        taken = await self._call("SET", self._lease, self._owner, "NX", "PX", LEASE_MILLISECONDS)
        if taken is None and await self._call("GET", self._lease) != self._owner.encode():
            return False
        await self.create_group()  # whoever deleted the stream deleted the group with it
        return True

    async def renew_lease(self) -> None:
        """See `EventSource.renew_lease`."""
        await self._fenced("EXISTS", self._stream)

    async def read_pending(self, after: str, most: int) -> tuple[list[StreamEntry], str]:
        """See `EventSource.read_pending`."""
        command = ("XAUTOCLAIM", self._stream, self._group, _CONSUMER, 0, after, "COUNT", most)
        following, entries, *gone = await self._fenced(*command)
        if gone and gone[0]:
            _log.error("entries left the stream before they were finished", extra={"entries": len(gone[0])})
        return _entries(entries), following.decode()

    async def read_new(self, most: int) -> list[StreamEntry]:
        """See `EventSource.read_new`."""
        command = ("XREADGROUP", "GROUP", self._group, _CONSUMER, "COUNT", most, "STREAMS", self._stream, ">")
        reply = await self._fenced(*command)
        return _entries(reply[0][1]) if reply else []

    async def acknowledge(self, done: Sequence[StreamEntry], rejected: Sequence[RejectedEntry]) -> None:
        """See `EventSource.acknowledge`."""
        ids = [entry.entry_id for entry in (*done, *(each.entry for each in rejected))]
        pipeline = self._client.pipeline(transaction=True)
        for each in rejected:
            own = [part for field in each.entry.fields.items() for part in field]
            kept = (
                "MAXLEN",
                "~",
                _DEAD_KEPT,
                "*",
                "recblr:reason",
                each.reason,
                "recblr:entry_id",
                each.entry.entry_id,
            )
            pipeline.execute_command("XADD", self._dead, *kept, *own)
        pipeline.execute_command("XACK", self._stream, self._group, *ids)
        await self._within_budget(pipeline.execute())

    async def lag(self) -> int | None:
        """See `EventSource.lag`."""
        for group in await self._call("XINFO", "GROUPS", self._stream):
            said = dict(zip(group[::2], group[1::2], strict=True))
            if said[b"name"] == self._group.encode():
                behind = said.get(b"lag")  # null after entries between were deleted
                return None if behind is None else int(behind) + int(said[b"pending"])
        return None

    async def release_lease(self) -> None:
        """See `EventSource.release_lease`."""
        try:
            await self._fenced("DEL", self._lease)
        except LeaseLostError:
            return

    async def close(self) -> None:
        """See `EventSource.close`."""
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    async def _fenced(self, *command: str | int) -> _Reply:
        arguments = (2, self._lease, self._stream, self._owner, LEASE_MILLISECONDS, *command)
        try:
            return await self._call("EVAL", _FENCED.source, *arguments)
        except ResponseError as error:
            if "LEASELOST" in str(error):
                raise LeaseLostError from None
            raise self._unavailable(f"refuses to be read ({error})") from error

    async def _call(self, *command: str | int) -> _Reply:
        return await self._within_budget(self._client.execute_command(*command))  # type: ignore[no-untyped-call]

    async def _within_budget(self, call: Awaitable[_Reply]) -> _Reply:
        """The reply. A `ResponseError` is the caller's, whatever else is wrong is `StoreUnavailable`."""
        try:
            async with asyncio.timeout(self._budget):
                return await call
        except ResponseError:
            raise
        except (RedisError, OSError) as error:  # a timer's TimeoutError is an OSError
            raise self._unavailable(f"does not answer ({type(error).__name__})") from error

    def _unavailable(self, what: str) -> StoreUnavailable:
        target = self._client.connection_pool.connection_kwargs
        place = f"{target.get('host', 'localhost')}:{target.get('port', 6379)}"
        return StoreUnavailable(f"the stream of events {what}", for_log=f"Redis at {place} {what}")


def _entries(reply: Sequence[Any]) -> list[StreamEntry]:
    """The entries of a reply, less those that were deleted meanwhile, which have no fields."""
    return [
        StreamEntry(entry_id.decode(), dict(zip(parts[::2], parts[1::2], strict=True)))
        for entry_id, parts in (entry for entry in reply if entry is not None)
        if parts is not None
    ]
