"""Check of a Redis server before the store uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from service.store.errors import StoreRefusedError, StoreUnreachableError
from service.store.redis.deployments.deployment import Command
from service.store.redis.lua_scripts import STORE_SCRIPTS
from service.store.redis_errors import explain_connection

Pipeline = Callable[[Sequence[Command]], Awaitable[list[Any]]]


async def check_node(name: str, pipeline: Pipeline, timeout_seconds: float, *, tls: bool, cluster: bool) -> None:
    """Check that a server answers, takes scripts and never evicts keys.

    Args:
        name: The server, for messages.
        pipeline: Sends commands to it.
        timeout_seconds: Time for the whole check.
        tls: Whether the connections use TLS.
        cluster: Whether the server must or must not belong to a cluster.

    Raises:
        StoreRefusedError: The server cannot be used.
        StoreUnreachableError: It does not answer.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            [info] = await pipeline([("INFO",)])
            loads = [("SCRIPT", "LOAD", script.source) for script in STORE_SCRIPTS]
            refused = [info, *await pipeline(loads)] if isinstance(info, bytes) else [info]
    except AuthenticationError:
        raise StoreRefusedError(
            f"{name} refuses the credentials; correct user and password in the state URL."
        ) from None
    except (RedisError, OSError) as error:  # OSError includes the timeout's TimeoutError
        raise StoreUnreachableError(f"{name} {explain_connection(error, tls=tls)}.") from None
    for reply in refused:
        if isinstance(reply, ResponseError):
            raise StoreRefusedError(
                f"{name} refuses INFO or SCRIPT LOAD ({reply}); see the ACL rule in docs/redis.md."
            )
    _check_info(name, dict(line.split(b":", 1) for line in info.splitlines() if b":" in line), cluster)


def _check_info(name: str, info: dict[bytes, bytes], cluster: bool) -> None:
    policy = info.get(b"maxmemory_policy", b"unknown").decode()
    if policy != "noeviction":
        raise StoreRefusedError(f"{name} may evict events (maxmemory-policy is {policy}); set it to noeviction.")
    if (info.get(b"cluster_enabled") == b"1") != cluster:
        what, scheme = ("is no node", "redis") if cluster else ("is a node", "redis+cluster")
        raise StoreRefusedError(f"{name} {what} of a cluster; begin the state URL with {scheme}://.")
