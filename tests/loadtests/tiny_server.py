"""An HTTP server in a thread, which can be told to stall."""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType


class TinyServer:
    """A context manager that answers every request with one status.

    `bodies` are those of the requests so far.
    """

    def __init__(
        self, *, status: int = 200, stall_at: int = 0, stall_seconds: float = 0.0, close_at: int = 0
    ) -> None:
        """Start on entering the context.

        Args:
            status: status of all answers.
            stall_at: number of the request before whose answer the whole server sleeps; 0 for none.
            stall_seconds: how long it sleeps.
            close_at: number of the request at which the server closes the connection; 0 for none.
        """
        self.bodies: list[bytes] = []
        self.port = 0
        self._status, self._close_at = status, close_at
        self._stall_at, self._stall_seconds = stall_at, stall_seconds
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> TinyServer:
        self._thread.start()
        assert self._listening.wait(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _serve(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._answer, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        server.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                lengths = [line.split(":")[1] for line in head.split("\r\n") if line.startswith("content-length")]
                self.bodies.append(await reader.readexactly(int(lengths[0]) if lengths else 0))
                if len(self.bodies) == self._stall_at:
                    time.sleep(self._stall_seconds)  # noqa: ASYNC251 - the whole server must stall
                if len(self.bodies) == self._close_at:
                    return
                writer.write(f"HTTP/1.1 {self._status} X\r\ncontent-length: 2\r\n\r\n{{}}".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            writer.close()
