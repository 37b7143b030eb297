"""TCP relay with latency in one direction, which can be cut."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

from redis import Redis

from tests.deployments import SentinelServers, in_sync, info, wait_for

_CHUNK = 65536
LAG_SECONDS = 0.05


class LaggingLink:
    """Context manager that relays TCP to `target_port` of this machine.

    Data from the target arrives `seconds` late and in order; data to the target arrives at once.
    """

    def __init__(self, target_port: int, seconds: float) -> None:
        self.port = 0  # known once the relay listens
        self._target_port = target_port
        self._seconds = seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lagging link")
        self._relays: set[asyncio.Task[None]] = set()

    def __enter__(self) -> LaggingLink:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Close all connections, discard data in transit, and refuse new connections.

        This is what happens when the target's host dies.
        """
        self._call(self._cut())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        self._server.close()
        for relay in self._relays:
            relay.cancel()
        if self._relays:
            await asyncio.wait(self._relays)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.current_task()
        assert relay is not None
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)
        with suppress(OSError, asyncio.CancelledError):
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_carry(reader, target_writer, 0.0))
                    both.create_task(_carry(target_reader, writer, self._seconds))
            except* OSError:
                pass
            finally:
                target_writer.transport.abort()
        writer.transport.abort()


class LaggingPair:
    """A primary and its delayed replica, which swap roles at each failover."""

    def __init__(self, servers: SentinelServers, stack: ExitStack) -> None:
        self._primary, self._replica = servers.primary, servers.replica
        self._stack = stack
        self._follow()

    def _follow(self) -> None:
        self._link = self._stack.enter_context(LaggingLink(self._primary.port, LAG_SECONDS))
        with Redis(port=self._replica.port) as client:
            client.replicaof("127.0.0.1", self._link.port)
        wait_for("the replica to be in sync", lambda: in_sync(self._primary))

    def fail_over(self) -> None:
        """Kill the primary, discard data in transit, and wait for the promotion."""
        self._link.cut()
        self._primary.kill()
        wait_for("the promotion of the replica", lambda: info(self._replica, "replication")["role"] == "master")

    def restart(self) -> None:
        """Start the killed server as the delayed replica of the new primary."""
        self._primary.start()
        self._primary, self._replica = self._replica, self._primary
        self._follow()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Copy from `reader` to `writer` with a delay of `seconds`.

    Raises:
        ConnectionResetError: the reader's end was closed; data in transit is lost.
    """
    delayed: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    clock = asyncio.get_running_loop().time

    async def deliver() -> None:
        while True:
            due, part = await delayed.get()
            await asyncio.sleep(due - clock())
            writer.write(part)
            await writer.drain()

    async with asyncio.TaskGroup() as both:
        both.create_task(deliver())
        while part := await reader.read(_CHUNK):
            delayed.put_nowait((clock() + seconds, part))
        raise ConnectionResetError("connection closed by the other end; data in transit is lost")
