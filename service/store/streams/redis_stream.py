"""A Redis stream as a source of entries; see `service.core.jobs.streams.stream_source.StreamSource`.

    <stream>                entries, whose fields service.api.stream_parser reads
    <stream>:<group>:lease  token of the worker that reads; it expires
    <stream>:<group>:dead   rejected entries: the fields recblr:format (1), recblr:reason and recblr:entry_id, then
                            the entry's own fields; about the newest 100,000 entries are kept

All workers use one consumer name, and the lease decides which of them reads. So a restart leaves no dead consumers
behind. Entries that are pending under other names are claimed too.
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
from service.core.jobs.streams.stream_source import LeaseLostError, RejectedEntry, StreamEntry
from service.store.errors import StoreUnreachableError
from service.store.redis.deployments.pools import blocking_pool
from service.store.redis.deployments.url import parse_url
from service.store.redis.lua_scripts import IF_LEASE_HELD
from service.store.redis_errors import explain_connection, explain_reply
from service.store.tls_errors import find_tls_fault

_log = logging.getLogger(__name__)

LEASE_MILLISECONDS = 3000
TIMEOUT_SECONDS = 1.0  # of one round trip
_MAX_CONNECTIONS = 2
_CONSUMER = "recblr"
_DEAD_LETTERS_KEPT = 100_000
_DEAD_LETTER_FORMAT = 1

_Reply = Any  # bytes, integers, and nested lists of them, depending on the command


async def open_stream(url: str, stream: str, group: str, timeout_seconds: float = TIMEOUT_SECONDS) -> RedisStream:
    """Open the stream on the Redis at `url`.

    The consumer group is created if it is missing; a new group starts at the stream's oldest entry. Raises
    `StoreRefusedError` if Redis is unreachable or refuses.
    """
    target = parse_url(url)
    pool = blocking_pool(target, target.addresses[0], timeout_seconds, _MAX_CONNECTIONS)
    source = RedisStream(Redis(connection_pool=pool), stream, group, timeout_seconds)
    try:
        await source.create_group()
    except StoreUnavailable as error:
        await source.close()
        if isinstance(error.__cause__, ResponseError) and not explain_reply(error.__cause__):
            raise StoreUnreachableError(f"{error.for_log}; correct the URL.") from None
        reason = f"Redis at {target.addresses[0]} {explain_connection(error, tls=target.tls)}"
        fault = await asyncio.to_thread(find_tls_fault, target.addresses, target.options) if target.tls else None
        raise StoreUnreachableError(f"{fault or reason}.") from None
    except BaseException:
        await source.close()
        raise
    return source


class RedisStream:
    """See `service.core.jobs.streams.stream_source.StreamSource`."""

    def __init__(self, client: Redis, stream: str, group: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._client = client
        self._stream = stream
        self._group = group
        self._timeout = timeout_seconds
        self._lease, self._dead_letters = f"{stream}:{group}:lease", f"{stream}:{group}:dead"
        self._owner = secrets.token_hex(8)

    async def create_group(self) -> None:
        """Create the stream and the consumer group unless they exist."""
        try:
            await self._call("XGROUP", "CREATE", self._stream, self._group, "0", "MKSTREAM")
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise self._unavailable(f"refuses the consumer group ({error})") from error

    async def acquire_lease(self) -> bool:
        """See `StreamSource.acquire_lease`."""
        taken = await self._call("SET", self._lease, self._owner, "NX", "PX", LEASE_MILLISECONDS)
        if taken is None and await self._call("GET", self._lease) != self._owner.encode():
            return False
        await self.create_group()  # deleting the stream deletes the group too
        return True

    async def renew_lease(self) -> None:
        """See `StreamSource.renew_lease`."""
        await self._call_if_leased("EXISTS", self._stream)

    async def read_pending(self, after: str, most: int) -> tuple[list[StreamEntry], str]:
        """See `StreamSource.read_pending`."""
        command = ("XAUTOCLAIM", self._stream, self._group, _CONSUMER, 0, after, "COUNT", most)
        following, entries, *deleted = await self._call_if_leased(*command)
        if deleted and deleted[0]:
            _log.error("stream entries were deleted before they were recorded", extra={"entries": len(deleted[0])})
        return _entries(entries), following.decode()

    async def read_new(self, most: int) -> list[StreamEntry]:
        """See `StreamSource.read_new`."""
        command = ("XREADGROUP", "GROUP", self._group, _CONSUMER, "COUNT", most, "STREAMS", self._stream, ">")
        reply = await self._call_if_leased(*command)
        return _entries(reply[0][1]) if reply else []

    async def acknowledge(self, done: Sequence[StreamEntry], rejected: Sequence[RejectedEntry]) -> None:
        """See `StreamSource.acknowledge`."""
        ids = [entry.entry_id for entry in (*done, *(each.entry for each in rejected))]
        pipeline = self._client.pipeline(transaction=True)
        for each in rejected:
            fields: dict[bytes, str | bytes | int] = {
                b"recblr:format": _DEAD_LETTER_FORMAT,
                b"recblr:reason": each.reason,
                b"recblr:entry_id": each.entry.entry_id,
                **each.entry.fields,
            }
            arguments = [argument for field in fields.items() for argument in field]
            pipeline.execute_command(
                *("XADD", self._dead_letters, "MAXLEN", "~", _DEAD_LETTERS_KEPT, "*"), *arguments
            )
        pipeline.execute_command("XACK", self._stream, self._group, *ids)
        await self._await_reply(pipeline.execute())

    async def lag(self) -> int | None:
        """See `StreamSource.lag`."""
        for group in await self._call("XINFO", "GROUPS", self._stream):
            info = dict(zip(group[::2], group[1::2], strict=True))
            if info[b"name"] == self._group.encode():
                behind = info.get(b"lag")  # null after entries in between were deleted
                return None if behind is None else int(behind) + int(info[b"pending"])
        return None

    async def release_lease(self) -> None:
        """See `StreamSource.release_lease`."""
        try:
            await self._call_if_leased("DEL", self._lease)
        except LeaseLostError:
            return

    async def close(self) -> None:
        """See `StreamSource.close`."""
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    async def _call_if_leased(self, *command: str | int) -> _Reply:
        """Run one command if this worker holds the lease; raise `LeaseLostError` otherwise."""
        arguments = (2, self._lease, self._stream, self._owner, LEASE_MILLISECONDS, *command)
        try:
            return await self._call("EVAL", IF_LEASE_HELD.source, *arguments)
        except ResponseError as error:
            if "LEASELOST" in str(error):
                raise LeaseLostError from None
            raise self._unavailable(f"cannot be read ({error})") from error

    async def _call(self, *command: str | int) -> _Reply:
        return await self._await_reply(self._client.execute_command(*command))  # type: ignore[no-untyped-call]

    async def _await_reply(self, call: Awaitable[_Reply]) -> _Reply:
        """Wait for a reply, within the timeout.

        Raises `ResponseError` for an error reply, and `StoreUnavailable` for any other failure.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await call
        except ResponseError:
            raise
        except (RedisError, OSError) as error:  # OSError includes the timeout's TimeoutError
            raise self._unavailable(f"does not answer ({type(error).__name__})") from error

    def _unavailable(self, problem: str) -> StoreUnavailable:
        target = self._client.connection_pool.connection_kwargs
        address = f"{target.get('host', 'localhost')}:{target.get('port', 6379)}"
        return StoreUnavailable(f"the stream {problem}", for_log=f"Redis at {address} {problem}")


def _entries(reply: Sequence[Any]) -> list[StreamEntry]:
    """Convert the entries of a reply, without those that were deleted meanwhile."""
    return [
        StreamEntry(entry_id.decode(), dict(zip(fields[::2], fields[1::2], strict=True)))
        for entry_id, fields in (entry for entry in reply if entry is not None)
        if fields is not None
    ]
