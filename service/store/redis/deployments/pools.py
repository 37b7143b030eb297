"""Connection pools, with their timeouts and without retries."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Sentinel, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff

from service.store.redis.deployments.url import Address, Target


def server_pool(target: Target, address: Address, timeout_seconds: float) -> ConnectionPool:
    """Return a pool of connections to the server at `address`."""
    return ConnectionPool(**_server_options(target, address, timeout_seconds))


def blocking_pool(
    target: Target, address: Address, timeout_seconds: float, max_connections: int
) -> BlockingConnectionPool:
    """Return a pool that makes callers wait when `max_connections` are in use."""
    options = _server_options(target, address, timeout_seconds)
    return BlockingConnectionPool(max_connections=max_connections, timeout=None, **options)


def primary_pool(target: Target, timeout_seconds: float) -> ConnectionPool:
    """Return a pool of connections to the primary.

    Opening a connection asks the sentinels which server that is.
    """
    # A quarter of the timeout, so that a sentinel that hangs leaves time for the next one and for the primary.
    quarter = timeout_seconds / 4
    timeouts = {"socket_timeout": quarter, "socket_connect_timeout": quarter, "retry": _no_retry()}
    tls = {name: value for name, value in target.options.items() if name.startswith("ssl_")}
    sentinels = Sentinel(target.addresses, sentinel_kwargs={**timeouts, **tls, "ssl": target.tls})  # type: ignore[no-untyped-call]
    options = _options(target, timeout_seconds)
    return _PrimaryPool(target.service, sentinels, ssl=target.tls, **options)  # type: ignore[no-untyped-call]


class _PrimaryPool(SentinelConnectionPool):
    async def get_master_address(self) -> tuple[str, int]:
        """Ask the sentinels, in a task of its own.

        The client library can lose a cancellation while it asks. The caller would then run on, perhaps for ever.
        """
        return await asyncio.shield(super().get_master_address())  # type: ignore[no-untyped-call]


def _server_options(target: Target, address: Address, timeout_seconds: float) -> dict[str, Any]:
    kind = SSLConnection if target.tls else Connection
    return {
        "connection_class": kind,
        "host": address.host,
        "port": address.port,
        **_options(target, timeout_seconds),
    }


def _options(target: Target, timeout_seconds: float) -> dict[str, Any]:
    return {
        **target.options,
        "retry": _no_retry(),
        # `Node.pipeline` has one timeout for a whole pipeline; the client's own would start anew for every reply.
        "socket_timeout": None,
        "socket_connect_timeout": timeout_seconds,
        "decode_responses": False,
        "protocol": 2,
    }


def _no_retry() -> Retry:
    # Some of the client's defaults repeat scripts too, and nothing recognises a repeated append without an event_id.
    return Retry(NoBackoff(), 0)
