"""Servers of a Redis deployment, which run one command on one key.

The client library's cluster client is not used: it asks each server for the table of all commands, which the
documented user may not read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol, cast

import redis
from redis.crc import key_slot
from redis.exceptions import AskError, AuthenticationError, ClusterDownError, MovedError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.store.redis.deployments.url import Address, Target

_READ_TIMEOUT_SECONDS = 30.0
_CONNECT_TIMEOUT_SECONDS = 5.0
# A cluster elects a new primary within some seconds.
_CLUSTER_RETRY_SECONDS = 60.0
_CLUSTER_PAUSE_SECONDS = 0.2
# Replies are text; bytes that are none, such as those of a number, can be got back with this error handler.
UNDECODABLE = "surrogateescape"


class RedisServers(Protocol):
    """A Redis deployment."""

    def run(self, key: str, *command: str | int) -> object:
        """Run a command that reads one key, and return the reply."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


def connect(url: Target) -> RedisServers:
    """Return the servers that a URL names; nothing is sent yet."""
    if url.kind == "cluster":
        return ClusterServers(url)
    if url.kind == "sentinel":
        return OneServer(_primary_client(url))
    return OneServer(_client(url, url.addresses[0]))


class OneServer:
    """One server, or the primary that sentinels name."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def run(self, key: str, *command: str | int) -> object:
        """See `RedisServers.run`."""
        return _execute(self._client, *command)

    def close(self) -> None:
        """See `RedisServers.close`."""
        self._client.close()


class ClusterServers:
    """The primaries of a Redis Cluster.

    A command is repeated while a slot moves or a primary is elected. All of our commands only read.
    """

    def __init__(self, url: Target) -> None:
        self._url = url
        self._clients: dict[Address, redis.Redis] = {}
        self._owners: list[tuple[int, int, Address]] = []

    def run(self, key: str, *command: str | int) -> object:
        """See `RedisServers.run`."""
        slot = key_slot(key.encode())
        deadline = time.monotonic() + _CLUSTER_RETRY_SECONDS
        asked: Address | None = None
        while True:
            try:
                owner = self._owner(slot)
                if asked is None:
                    return _execute(self._client(owner), *command)
                return self._run_asking(asked, command)
            except AuthenticationError:
                raise
            except (AskError, TryAgainError, ClusterDownError, RedisConnectionError, RedisTimeoutError) as error:
                if time.monotonic() > deadline:
                    raise
                asked = None
                if isinstance(error, AskError) and not isinstance(error, MovedError):
                    asked = Address(error.host or owner.host, error.port)
                    continue
                self._owners = []
                time.sleep(_CLUSTER_PAUSE_SECONDS)

    def _run_asking(self, address: Address, command: Sequence[str | int]) -> object:
        """Run a command on the target of a moving slot."""
        pipeline = self._client(address).pipeline(transaction=False)
        _execute(pipeline, "ASKING")
        _execute(pipeline, *command)
        reply: object = pipeline.execute()[1]
        return reply

    def close(self) -> None:
        """See `RedisServers.close`."""
        for client in self._clients.values():
            client.close()

    def _client(self, address: Address) -> redis.Redis:
        if address not in self._clients:
            self._clients[address] = _client(self._url, address)
        return self._clients[address]

    def _owner(self, slot: int) -> Address:
        """Return the primary that owns a slot."""
        if not self._owners:
            self._owners = self._read_owners()
        for first, last, address in self._owners:
            if first <= slot <= last:
                return address
        raise RedisConnectionError("the cluster has slots without a server")

    def _read_owners(self) -> list[tuple[int, int, Address]]:
        """Ask any node for the slots."""
        for address in dict.fromkeys((*self._clients, *self._url.addresses)):
            with suppress(RedisConnectionError, RedisTimeoutError):
                ranges = cast(list[Any], _execute(self._client(address), "CLUSTER", "SLOTS"))
                return [(first, last, _address(primary, address)) for first, last, primary, *_ in ranges]
        # The first node's own error says why, such as a wrong password.
        _execute(self._client(self._url.addresses[0]), "CLUSTER", "SLOTS")
        raise RedisConnectionError("no node of the cluster answers")


def _execute(client: redis.Redis, *command: str | int) -> object:
    reply: object = client.execute_command(*command)  # type: ignore[no-untyped-call]
    return reply


def _address(server: Sequence[Any], source: Address) -> Address:
    """Return a server's address. An unknown host means that of `source`."""
    return Address(source.host if server[0] in (None, "", "?") else server[0], server[1])


def _client(url: Target, address: Address) -> redis.Redis:
    return redis.Redis(host=address.host, port=address.port, ssl=url.tls, **_options(url))


def _primary_client(url: Target) -> redis.Redis:
    """Return a client that asks the sentinels for the primary."""
    timeouts = {"socket_timeout": _CONNECT_TIMEOUT_SECONDS, "socket_connect_timeout": _CONNECT_TIMEOUT_SECONDS}
    tls = {name: value for name, value in url.options.items() if name.startswith("ssl_")}
    sentinels = redis.Sentinel(url.addresses, sentinel_kwargs={**timeouts, **tls, "ssl": url.tls})  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinels.master_for(url.service, ssl=url.tls, **_options(url))  # type: ignore[no-untyped-call]
    return client


def _options(url: Target) -> dict[str, Any]:
    return {
        **url.options,
        "socket_timeout": _READ_TIMEOUT_SECONDS,
        "socket_connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        "decode_responses": True,
        "encoding_errors": UNDECODABLE,
        "protocol": 2,
    }
