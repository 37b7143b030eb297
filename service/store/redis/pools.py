"""Pools of connections to the servers of a deployment, with every time-out and retry chosen here."""

from __future__ import annotations

from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Sentinel, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff

from service.store.redis.url import Address, Target


def server_pool(target: Target, address: Address, budget: float) -> ConnectionPool:
    """Connections to the one server at `address`."""
    return ConnectionPool(**_server(target, address, budget))


def shared_pool(target: Target, address: Address, budget: float, most: int) -> BlockingConnectionPool:
    """As `server_pool`, but who finds all of `most` connections taken waits for one."""
    return BlockingConnectionPool(max_connections=most, timeout=None, **_server(target, address, budget))


def primary_pool(target: Target, budget: float) -> ConnectionPool:
    """Connections to whichever server the sentinels call the primary when a connection is opened."""
    # A sentinel that hangs must leave time to ask the next one and to connect to the primary.
    patience = {"socket_timeout": budget / 4, "socket_connect_timeout": budget / 4, "retry": _never_again()}
    tls = {name: value for name, value in target.options.items() if name.startswith("ssl_")}
    sentinels = Sentinel(target.addresses, sentinel_kwargs={**patience, **tls, "ssl": target.tls})  # type: ignore[no-untyped-call]
    return SentinelConnectionPool(target.service, sentinels, ssl=target.tls, **_options(target, budget))  # type: ignore[no-untyped-call]


def _server(target: Target, address: Address, budget: float) -> dict[str, Any]:
    kind = SSLConnection if target.tls else Connection
    return {"connection_class": kind, "host": address.host, "port": address.port, **_options(target, budget)}


def _options(target: Target, budget: float) -> dict[str, Any]:
    return {
        **target.options,
        "retry": _never_again(),
        # The budget is one timer around a whole exchange; the client's own would be set anew for every reply.
        "socket_timeout": None,
        "socket_connect_timeout": budget,
        "decode_responses": False,
        "protocol": 2,
    }


def _never_again() -> Retry:
    # Some of the client's defaults repeat even scripts, and nothing recognises an append without an event_id.
    return Retry(NoBackoff(), 0)
