"""One Redis server that takes writes, and the connections to it.

Runs scripts on it, each pipeline within a timeout.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextvars import Context
from typing import Any

from hiredis import pack_command
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import ConnectionPool, SSLConnection
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.core.errors import StoreUnavailable
from service.store.errors import unknown_format
from service.store.redis.deployments.deployment import Call, Command
from service.store.redis.deployments.memory_watch import MemoryWatch
from service.store.redis.deployments.node_check import check_node
from service.store.redis.lua_scripts import Script
from service.store.redis_errors import TEMPORARY_ERRORS, TEMPORARY_TYPES, explain_connection, explain_reply

MAX_CONNECTIONS = 16
_PROBE_PAUSE_SECONDS = 0.05
_WAIT_FRACTION = 0.5  # of the timeout, for WAIT: it begins after the scripts

_UNKNOWN_FORMAT = re.compile(r"UNKNOWNFORMAT (.+? has format \w+)")  # raised in scripts/lib/format.lua


class Connections:
    """Connections that each run one pipeline at a time.

    The client library's own pipeline took 65 us of the 230 us of a pipeline of one command (decision 0037): it has
    reply callbacks, retries, measurements, a queue and two locks that are not used here.
    """

    def __init__(self, pool: ConnectionPool, max_connections: int) -> None:
        self._pool = pool
        self._free: list[AbstractConnection] = []
        self._slots = asyncio.Semaphore(max_connections)

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Send `commands` at once and return their replies, error replies included.

        Raises the client library's errors if the connection fails. Whatever ends a pipeline early, such as a timeout,
        closes its connection: a late reply must not be read as the reply to another command.
        """
        async with self._slots:
            connection: AbstractConnection = (
                self._free.pop() if self._free else await self._pool.get_connection()  # type: ignore[no-untyped-call]
            )
            try:
                await self._pool.ensure_connection(connection)  # open, and without an unread reply
                # hiredis' type stub takes tuples of length one only.
                packed = [pack_command(command) for command in commands]  # type: ignore[arg-type]
                await connection.send_packed_command(b"".join(packed))
                replies: list[Any] = []
                while len(replies) < len(commands):
                    try:
                        replies.append(await connection.read_response(disable_decoding=True))
                    except ResponseError as error:
                        replies.append(error)
                    # Others have mostly arrived with it. The library would enter five functions for each.
                    parsed = connection._parser._reader  # type: ignore[attr-defined]
                    while len(replies) < len(commands) and (reply := parsed.gets(False)) is not NOT_ENOUGH_DATA:
                        if isinstance(reply, RedisConnectionError):
                            raise reply
                        replies.append(reply)
                return replies
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            finally:
                self._free.append(connection)

    async def drop_idle(self) -> None:
        """Close the unused connections, which may lead to a former primary."""
        idle, self._free = self._free, []
        try:
            for connection in idle:
                await connection.disconnect(nowait=True)
        finally:
            self._free += idle


class Node:
    """A `Deployment` of one server.

    After a timeout all calls fail at once until the server answers a PING. Otherwise each batch would wait for the
    whole timeout behind the batch before it (decision 0028).
    """

    one_server = True

    def __init__(self, pool: ConnectionPool, name: str, timeout_seconds: float, min_replicas: int = 0) -> None:
        """Use the connections of `pool`.

        `name` tells the operator which server it is. A durable write needs `min_replicas` replicas.
        """
        self.name = name
        self._pool = pool
        self._connections = Connections(pool, MAX_CONNECTIONS)
        self._timeout = timeout_seconds
        self._tls = issubclass(pool.connection_class, SSLConnection)
        self._min_replicas = min_replicas
        self._wait: Command = ("WAIT", min_replicas, int(1000 * timeout_seconds * _WAIT_FRACTION))
        self._probe: asyncio.Task[None] | None = None
        self._memory = MemoryWatch()

    async def run(
        self,
        script: Script,
        calls: Sequence[Call],
        *,
        load: bool = False,
        asking: bool = False,
        deadline: float | None = None,
    ) -> list[Any]:
        """See `Deployment.run`.

        `asking` is needed for a slot that is being moved here, after another server replied ASK.
        """
        deadline = deadline or asyncio.get_running_loop().time() + self._timeout
        commands: list[Command] = [("SCRIPT", "LOAD", script.source)] if load else []
        for call in calls:
            commands += [("ASKING",)] * asking
            commands.append(("EVALSHA", script.digest, len(call.keys), *call.keys, *call.arguments))
        waits = self._min_replicas > 0 and any(call.durable for call in calls)
        if waits:
            commands.append(self._wait)
        try:
            replies = await self.pipeline(commands, deadline)
        except StoreUnavailable as error:
            return [error] * len(calls)
        acknowledged = replies.pop() if waits else None
        replies = replies[load + asking :: 1 + asking]
        if waits:
            replies = self._require_replicas(calls, replies, acknowledged)
        # NOSCRIPT (after a restart or on a promoted replica) means that the call did nothing.
        missed = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missed and not load:
            again = [calls[index] for index in missed]
            found = await self.run(script, again, load=True, asking=asking, deadline=deadline)
            for index, reply in zip(missed, found, strict=True):
                replies[index] = reply
        return [self._convert(reply) if isinstance(reply, RedisError) else reply for reply in replies]

    def _require_replicas(self, calls: Sequence[Call], replies: list[Any], count: object) -> list[Any]:
        """Refuse to acknowledge durable calls that too few replicas have."""
        if isinstance(count, int) and count >= self._min_replicas:
            return replies
        # A server that became a replica refuses WAIT too; its replies to the calls (MOVED) come first: decision 0051.
        if not isinstance(count, Exception):
            count = self.unavailable("has not got the write onto enough replicas")
        return [
            count if call.durable and not isinstance(reply, Exception) else reply
            for call, reply in zip(calls, replies, strict=True)
        ]

    async def pipeline(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        """Return the replies to `commands`, error replies included.

        Raises `StoreUnavailable` if there are none.
        """
        if self._probe is not None:
            raise self.unavailable("does not answer")
        try:
            async with asyncio.timeout_at(deadline):
                return await self._connections.pipeline(commands)
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            if not isinstance(error, TimeoutError):
                await self._connections.drop_idle()
            elif self._probe is None:
                self._probe = asyncio.create_task(self._probe_until_answered(), context=Context())
            raise self._convert(error) from error

    async def _probe_until_answered(self) -> None:
        """Repeat PING, so that calls resume when the server does."""
        while True:
            # An open connection may lead to a server that is no primary any more.
            await self._connections.drop_idle()
            try:
                async with asyncio.timeout(self._timeout):
                    [reply] = await self._connections.pipeline([("PING",)])
                if not isinstance(reply, Exception):
                    break
            except (RedisError, OSError):
                pass
            await asyncio.sleep(_PROBE_PAUSE_SECONDS)
        self._probe = None

    async def scan(self, cursor: str, pattern: str, count: int) -> tuple[list[bytes], str]:
        """See `Deployment.scan`."""
        reply = await self._call("SCAN", cursor or "0", "MATCH", pattern, "COUNT", count)
        following = reply[0].decode()
        return reply[1], "" if following == "0" else following

    async def ping(self) -> None:
        """See `Deployment.ping`."""
        await self._call("PING")

    async def memory_used(self) -> float | None:
        """See `Deployment.memory_used`."""
        return self._memory.fraction(await self._call("INFO", "memory"))

    async def _call(self, *command: str | int) -> Any:  # noqa: ANN401 - the command decides
        [reply] = await self.pipeline([command], asyncio.get_running_loop().time() + self._timeout)
        if isinstance(reply, Exception):
            raise self._convert(reply)
        return reply

    async def check(self, *, cluster: bool = False) -> None:
        """See `Deployment.check`.

        `cluster` says whether the server must or must not belong to a cluster.
        """
        await check_node(self.name, self._connections.pipeline, self._timeout, tls=self._tls, cluster=cluster)

    async def close(self) -> None:
        """See `Deployment.close`."""
        if self._probe is not None:
            self._probe.cancel()
        await self._pool.disconnect()

    def unavailable(self, problem: str, explanation: str | None = None) -> StoreUnavailable:
        """Return an error whose log text alone names the server."""
        return StoreUnavailable(f"the event log {problem}", for_log=f"{self.name} {explanation or problem}")

    def _convert(self, error: Exception) -> Exception:
        """Return `StoreUnavailable` for outages and temporary refusals, otherwise `error`."""
        if isinstance(error, OutOfMemoryError):
            self._memory.refused()
            return self.unavailable("has no memory left for events", explain_reply(error))
        if isinstance(error, TEMPORARY_TYPES) or str(error).startswith(TEMPORARY_ERRORS):
            return self.unavailable("takes no events at the moment", explain_reply(error))
        if isinstance(error, RedisTimeoutError | TimeoutError):
            return self.unavailable("did not answer in time")
        if isinstance(error, RedisConnectionError | NoScriptError | OSError):
            explanation = explain_connection(error, tls=self._tls)
            return self.unavailable("cannot be reached or is not ready", explanation)
        if found := _UNKNOWN_FORMAT.search(str(error)):
            return unknown_format(f"{self.name}: {found[1]}")
        return error
