"""A proxy between the service and Redis that disturbs some round trips."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType
from typing import Literal

from tests.servers import free_port

# cut: Redis executes the commands, then the connection is closed without the reply.
# delay: the reply is late, sometimes later than the service waits.
# drop: the commands or the reply are lost, and the connection stays open.
Fault = Literal["cut", "delay", "drop"]
LATE_SECONDS = (0.05, 1.5)
_READ = 1 << 20


class Proxy:
    """Listens on a port of its own; an async context manager.

    Once `every` is set, it disturbs a round trip at once and then one of `every` on average, at random distances
    of less than twice that.
    """

    def __init__(self, port: int, fault: Fault, seed: int) -> None:
        self.url = f"redis://127.0.0.1:{(own := free_port())}/0"
        self.every = 0
        self.round_trips = self.disturbed = self._next = 0
        self._serving: set[asyncio.Task[None] | None] = set()
        self._port, self._own, self._fault = port, own, fault
        self._dice = random.Random(seed)

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._own)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        if self._serving:
            await asyncio.wait([task for task in self._serving if task is not None])

    def _disturbs(self) -> bool:
        self.round_trips += 1
        if not self.every or self.round_trips < self._next:
            return False
        self._next = self.round_trips + self._dice.randrange(1, 2 * self.every)
        self.disturbed += 1
        return True

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        redis, to_redis = await asyncio.open_connection("127.0.0.1", self._port)
        answers = asyncio.create_task(_copy(redis, to_client))
        try:
            while commands := await client.read(_READ):
                if not self._disturbs():
                    to_redis.write(commands)
                    continue
                answers.cancel()
                await asyncio.wait([answers])
                answer = b""
                if self._fault != "drop" or self.disturbed % 2:
                    to_redis.write(commands)
                    answer = await redis.read(_READ)  # Redis has executed the commands
                if self._fault == "cut":
                    break
                if self._fault == "drop":
                    await client.read()  # until the service hangs up
                    break
                await asyncio.sleep(self._dice.uniform(*LATE_SECONDS))
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
    while data := await reader.read(_READ):
        writer.write(data)
