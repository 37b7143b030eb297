"""Interface of a Redis deployment, on which scripts run.

A deployment is one server, a primary that sentinels name, or a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from service.core.errors import StoreUnavailable
from service.store.redis.lua_scripts import Script

Command = tuple[str | bytes | int, ...]


class Call(NamedTuple):
    """One run of a script.

    keys       the keys that the script uses; they share a slot, and the first names the user.
    arguments  the script's ARGV.
    durable    whether the reply acknowledges a write, so that `min_replicas` replicas must have it.
    """

    keys: tuple[str, ...]
    arguments: Sequence[str | bytes | int]
    durable: bool = False


class Deployment(Protocol):
    """Servers of one Redis deployment.

    Attributes:
        one_server: Whether a script may use keys of several slots.
    """

    one_server: bool

    async def run(self, script: Script, calls: Sequence[Call], *, load: bool = False) -> list[Any]:
        """Run `script` once for each call, those of one user in order.

        Args:
            script: The script to run.
            calls: Keys and arguments of each run.
            load: Send the script along, which saves a round trip if the server does not know it yet.

        Returns:
            A reply for each call, in order. A `StoreUnavailable` stands in for a call that was temporarily refused or
            whose outcome is unknown; such a call is not sent again. Any other exception is a fault.
        """
        ...

    async def scan(self, cursor: str, pattern: str, count: int) -> tuple[list[bytes], str]:
        """Look at about `count` keys for those that match `pattern`.

        Returns them and the next cursor, "" at the end.
        """
        ...

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless users can be served."""
        ...

    async def memory_used(self) -> float | None:
        """Return the fullest server's used fraction of maxmemory, if limited."""
        ...

    async def check(self) -> None:
        """Raise `StoreRefusedError` unless every primary answers and never evicts keys."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


async def run_script(
    deployment: Deployment, script: Script, calls: Sequence[Call], *, load: bool = False, partial: bool = False
) -> list[Any]:
    """Run `script` once for each call; raise the first fault.

    Raises `StoreUnavailable` if any call failed. With `partial` it stands in for the reply to that call.
    """
    replies = await deployment.run(script, calls, load=load) if calls else []
    for reply in replies:
        if isinstance(reply, Exception) and not (partial and isinstance(reply, StoreUnavailable)):
            raise reply
    return replies
