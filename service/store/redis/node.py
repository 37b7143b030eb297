"""One Redis server that takes writes: scripts run there, each exchange within the budget."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from typing import Any, NamedTuple

from redis.asyncio import ConnectionPool
from redis.exceptions import (
    AuthenticationError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.core.errors import StoreUnavailable
from service.store.errors import StoreRefusedError, StoreUnreachableError
from service.store.redis.connections import Command, Connections
from service.store.redis.layout import SCRIPTS, Script

MAX_CONNECTIONS = 16
_PROBE_PAUSE_SECONDS = 0.05
_WAIT_SHARE = 0.5  # of the budget: what replicas get to acknowledge, with time left for the scripts before

# Answers by which Redis says "not now" rather than "not so".
_PASSING = ("MISCONF", "NOREPLICAS", "BUSY", "UNBLOCKED", "WAIT cannot be used with replica")
_TOO_FEW = "has not got the write onto enough replicas"


class Call(NamedTuple):
    """A run of a script: its keys, which share a slot, the first of them the user's; then its arguments.

    `lasting` says that the answer acknowledges a write, so that replicas must have it too where that is asked for.
    """

    keys: tuple[str, ...]
    arguments: Sequence[str | bytes | int]
    lasting: bool = False


class Node:
    """See `Deployment` in redis.py. `wait` is how many replicas must have a lasting write.

    A server that let the budget pass is left alone until it answers a PING: meanwhile everything fails at once, or
    each batch would wait for the whole budget behind the one before.
    """

    def __init__(self, pool: ConnectionPool, place: str, budget: float, wait: int = 0) -> None:
        self.place = place
        self._pool = pool
        self._connections = Connections(pool, MAX_CONNECTIONS)
        self._budget = budget
        self._wait: Command = ("WAIT", wait, int(1000 * budget * _WAIT_SHARE))
        self._waits = wait > 0
        self._probe: asyncio.Task[None] | None = None

    async def run(self, script: Script, calls: Sequence[Call], *, load: bool = False) -> list[Any]:
        """See `Deployment.run`."""
        try:
            return await self.run_until(self.deadline(), script, calls, load=load)
        except StoreUnavailable as error:
            return [error] * len(calls)

    def deadline(self) -> float:
        """When an exchange that begins now must be over, on the event loop's clock."""
        return asyncio.get_running_loop().time() + self._budget

    async def run_until(
        self, deadline: float, script: Script, calls: Sequence[Call], *, load: bool = False, asking: bool = False
    ) -> list[Any]:
        """As `run`, but raises `StoreUnavailable` where the exchange failed as a whole.

        `asking` says that the slot is being moved here from another server, which has sent us.
        """
        replies = await self._scripted(deadline, script, calls, load, asking)
        # NOSCRIPT (the server was restarted, or a replica took over) says that this call did nothing.
        missed = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missed:
            again = await self._scripted(deadline, script, [calls[index] for index in missed], True, asking)
            for index, reply in zip(missed, again, strict=True):
                replies[index] = reply
        return [self._translated(reply) if isinstance(reply, Exception) else reply for reply in replies]

    async def _scripted(
        self, deadline: float, script: Script, calls: Sequence[Call], load: bool, asking: bool
    ) -> list[Any]:
        commands: list[Command] = [("SCRIPT", "LOAD", script.source)] if load else []
        for call in calls:
            if asking:
                commands.append(("ASKING",))
            commands.append(("EVALSHA", script.digest, len(call.keys), *call.keys, *call.arguments))
        waits = self._waits and any(call.lasting for call in calls)
        if waits:
            commands.append(self._wait)
        replies = await self.exchange(commands, deadline)
        acknowledged = replies.pop() if waits else None
        replies = replies[load + asking :: 1 + asking]
        return self._acknowledged(calls, replies, acknowledged) if waits else replies

    def _acknowledged(self, calls: Sequence[Call], replies: list[Any], count: object) -> list[Any]:
        """`replies`, but writes that too few replicas have are not acknowledged: the next failover may undo them."""
        if isinstance(count, int) and count >= int(self._wait[1]):
            return replies
        # A server that is a replica by now refuses WAIT as well; what it says to a call itself (MOVED) stays.
        missing = count if isinstance(count, Exception) else self.unavailable(_TOO_FEW)
        return [
            missing if call.lasting and not isinstance(reply, Exception) else reply
            for call, reply in zip(calls, replies, strict=True)
        ]

    async def exchange(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        """The replies to `commands`, errors that Redis answered among them; raises `StoreUnavailable`."""
        if self._probe is not None:
            raise self.unavailable("does not answer")
        try:
            async with asyncio.timeout_at(deadline):
                return await self._connections.exchange(commands)
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            if isinstance(error, TimeoutError):
                self._suspect()
            else:
                await self._connections.drop_idle()
            raise self._translated(error) from error

    def _suspect(self) -> None:
        if self._probe is None:
            self._probe = asyncio.create_task(self._probe_until_it_answers(), context=Context())

    async def _probe_until_it_answers(self) -> None:
        """Keep asking, so that the server serves again the moment it can."""
        while True:
            # Those that are open may lead to a primary that is none any more.
            await self._connections.drop_idle()
            try:
                async with asyncio.timeout(self._budget):
                    [reply] = await self._connections.exchange([("PING",)])
                if not isinstance(reply, Exception):
                    break
            except (RedisError, OSError):
                pass
            await asyncio.sleep(_PROBE_PAUSE_SECONDS)
        self._probe = None

    async def scan(self, cursor: str, pattern: str, count: int) -> tuple[list[bytes], str]:
        """See `Deployment.scan`."""
        command: Command = ("SCAN", cursor or "0", "MATCH", pattern, "COUNT", count)
        [reply] = await self.exchange([command], self.deadline())
        if isinstance(reply, Exception):
            raise self._translated(reply)
        following = reply[0].decode()
        return reply[1], "" if following == "0" else following

    async def ping(self) -> None:
        """See `Deployment.ping`."""
        [reply] = await self.exchange([("PING",)], self.deadline())
        if isinstance(reply, Exception):
            raise self._translated(reply)

    async def check(self, *, cluster: bool = False) -> None:
        """See `Deployment.check`. `cluster` is whether the server must be one of a cluster or must not."""
        try:
            async with asyncio.timeout(self._budget):
                [info] = await self._connections.exchange([("INFO",)])
                loads = [("SCRIPT", "LOAD", script.source) for script in SCRIPTS]
                refused = [info, *await self._connections.exchange(loads)] if isinstance(info, bytes) else [info]
        except AuthenticationError:
            raise StoreRefusedError(
                f"{self.place} refuses the credentials; correct user and password in the state URL."
            ) from None
        except (RedisError, OSError):  # a timer's TimeoutError is an OSError
            raise StoreUnreachableError(
                f"{self.place} cannot be reached; start it or correct the state URL."
            ) from None
        for reply in refused:
            if isinstance(reply, ResponseError):
                raise StoreRefusedError(
                    f"{self.place} refuses INFO or SCRIPT LOAD ({reply}); see the ACL rule in README."
                )
        self._check_info(dict(line.split(b":", 1) for line in info.splitlines() if b":" in line), cluster)

    def _check_info(self, info: dict[bytes, bytes], cluster: bool) -> None:
        policy = info.get(b"maxmemory_policy", b"unknown").decode()
        if policy != "noeviction":
            raise StoreRefusedError(
                f"{self.place} may evict events (maxmemory-policy is {policy}); set it to noeviction."
            )
        if (info.get(b"cluster_enabled") == b"1") != cluster:
            what, scheme = ("is no node", "redis") if cluster else ("is a node", "redis+cluster")
            raise StoreRefusedError(f"{self.place} {what} of a cluster; begin the state URL with {scheme}://.")

    async def close(self) -> None:
        """See `Deployment.close`."""
        if self._probe is not None:
            self._probe.cancel()
        await self._pool.disconnect()

    def unavailable(self, what: str) -> StoreUnavailable:
        """What clients are told, and the operator with the place."""
        return StoreUnavailable(f"the event log {what}", for_log=f"{self.place} {what}")

    def _translated(self, error: Exception) -> Exception:
        """`error` as the use cases know it; what cannot be a passing state of Redis stays as it is, for the log."""
        if isinstance(error, StoreUnavailable):
            return error
        if isinstance(error, OutOfMemoryError):
            return self.unavailable("has no memory left for events")
        if isinstance(error, ReadOnlyError | MasterDownError) or str(error).startswith(_PASSING):
            return self.unavailable("takes no events at the moment")
        if isinstance(error, RedisTimeoutError | TimeoutError):
            return self.unavailable("did not answer in time")
        if isinstance(error, RedisConnectionError | NoScriptError | OSError):
            return self.unavailable("cannot be reached or is not ready")
        return error
