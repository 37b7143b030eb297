"""Connections to one Redis server, kept open between pipelines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

Command = tuple[str | bytes | int, ...]


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
                for _ in commands:
                    try:
                        replies.append(await connection.read_response(disable_decoding=True))
                    except ResponseError as error:
                        replies.append(error)
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
