"""Proxy between the service and Redis that disturbs some of the requests."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType
from typing import Literal

from tests.servers import free_port

# cut: Redis executes the commands; its answer is discarded and the connection closed.
# delay: the answer arrives late, sometimes after the service's timeout.
# drop: the commands or the answer are discarded; the connection stays open and silent.
Fault = Literal["cut", "delay", "drop"]
DELAY_SECONDS = (0.05, 1.5)
_READ_BYTES = 1 << 20


class Proxy:
    """Async context manager that listens on a port of its own.

    Once `interval` is set, the proxy disturbs the next request and then one in `interval` on average. Gaps are
    uniform between 1 and twice `interval`.
    """

    def __init__(self, port: int, fault: Fault, seed: int) -> None:
        self.url = f"redis://127.0.0.1:{(own := free_port())}/0"
        self.interval = 0
        self.requests = self.disturbed = self._next = 0
        self._serving: set[asyncio.Task[None] | None] = set()
        self._redis_port, self._port, self._fault = port, own, fault
        self._random = random.Random(seed)

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        if self._serving:
            await asyncio.wait([task for task in self._serving if task is not None])

    def _should_disturb(self) -> bool:
        self.requests += 1
        if not self.interval or self.requests < self._next:
            return False
        self._next = self.requests + self._random.randrange(1, 2 * self.interval)
        self.disturbed += 1
        return True

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        redis, to_redis = await asyncio.open_connection("127.0.0.1", self._redis_port)
        answers = asyncio.create_task(_copy(redis, to_client))
        try:
            while commands := await client.read(_READ_BYTES):
                if not self._should_disturb():
                    to_redis.write(commands)
                    continue
                answers.cancel()
                await asyncio.wait([answers])
                answer = b""
                if self._fault != "drop" or self.disturbed % 2:
                    to_redis.write(commands)
                    answer = await redis.read(_READ_BYTES)  # Redis has executed the commands
                if self._fault == "cut":
                    break
                if self._fault == "drop":
                    await client.read()  # until the service closes the connection
                    break
                await asyncio.sleep(self._random.uniform(*DELAY_SECONDS))
                to_client.write(answer)
                answers = asyncio.create_task(_copy(redis, to_client))
        except OSError:
            pass
        finally:
            answers.cancel()
            to_redis.close()
            to_client.close()
            self._serving.discard(asyncio.current_task())


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_READ_BYTES):
        writer.write(data)
