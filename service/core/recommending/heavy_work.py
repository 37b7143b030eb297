"""Slots for heavy work beside light requests (decision 0108).

Heavy work takes milliseconds by itself: a large body, a long answer, a long history, a merge. While light requests
arrive, one piece of it runs at a time, callers alternate, and a pause follows each. A light request therefore rarely
meets it, whoever sends it. Without light requests nothing waits.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary

from service.core.caller_name import current_caller
from service.core.errors import DeadlineExceeded
from service.core.recommending.fair_queue import FairQueue

BUSY_SECONDS = 1.0  # after the last light request

Clock = Callable[[], float]
Result = TypeVar("Result")


class LightRequests:
    """Time of the last request that asks the engine for little.

    The attribute `newest` is set at each of them; a method would cost more.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self.newest = -math.inf

    def are_expected(self) -> bool:
        """Return whether one has arrived in the last second."""
        return self._clock() - self.newest < BUSY_SECONDS


class HeavyWork:
    """Queue of one kind of heavy work.

    Args:
        light_requests: Beside them heavy work has slots.
        free_seconds: Time of each piece that needs no pause: most pieces are short.
        pause_factor: Length of the pause, for each second of the rest.
        clock: Seconds.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        light_requests: LightRequests,
        *,
        free_seconds: float = 0.001,
        pause_factor: float = 4.0,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._light_requests = light_requests
        self._free_seconds = free_seconds
        self._pause_factor = pause_factor
        self._clock = clock
        self._sleep = sleep
        self._free_at = -math.inf
        self._working = False
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    async def run(
        self, work: Callable[[], Awaitable[Result]], timeout_seconds: float = math.inf, *, caller: str = ""
    ) -> Result:
        """Run one piece of work in a slot of its own.

        Args:
            work: The work.
            timeout_seconds: Longest wait for the slot.
            caller: Callers alternate; by default the API key of the request.

        Raises:
            DeadlineExceeded: The slot did not come in time; the work was not begun.
        """
        if not (self._working or self._light_requests.are_expected()):
            return await work()
        try:
            async with asyncio.timeout(None if timeout_seconds == math.inf else timeout_seconds):
                await self._take_slot(caller or current_caller.get())
        except TimeoutError:
            raise DeadlineExceeded("the request was not started before its deadline; try again shortly") from None
        began = self._clock()
        try:
            return await work()
        finally:
            now = self._clock()
            self._free_at = now + self._pause_factor * max(0.0, now - began - self._free_seconds)
            self._end_slot()

    async def _take_slot(self, caller: str) -> None:
        """Wait until other work, and the pause after it, are over."""
        if self._working:
            slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(caller, slot)
            try:
                await slot
            except asyncio.CancelledError:
                if slot.done() and not slot.cancelled():  # the slot came together with the cancellation
                    self._end_slot()
                raise
        self._working = True
        try:
            if (seconds := self._free_at - self._clock()) > 0 and self._light_requests.are_expected():
                await self._sleep(seconds)
        except asyncio.CancelledError:
            self._end_slot()
            raise

    def _end_slot(self) -> None:
        """Give the slot to the next waiting work."""
        while self._waiting.length:
            [slot] = self._waiting.take(1)
            if not slot.done():
                slot.set_result(None)
                return
        self._working = False


class LoopHeavyWork:
    """Heavy work of the running event loop.

    Each loop has a queue of its own. A process has one loop, and a loop that is gone never gives its slot back.
    """

    def __init__(self, light_requests: LightRequests, *, free_seconds: float, pause_factor: float) -> None:
        """Keep the arguments of each loop's `HeavyWork`."""
        self._new = partial(HeavyWork, light_requests, free_seconds=free_seconds, pause_factor=pause_factor)
        self._of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, HeavyWork] = WeakKeyDictionary()

    async def run(
        self, work: Callable[[], Awaitable[Result]], timeout_seconds: float = math.inf, *, caller: str = ""
    ) -> Result:
        """Run one piece of work; see `HeavyWork.run`."""
        loop = asyncio.get_running_loop()
        queue = self._of_loop.get(loop)
        if queue is None:
            queue = self._of_loop[loop] = self._new()
        return await queue.run(work, timeout_seconds, caller=caller)


LIGHT_REQUESTS = LightRequests()  # of this process
HEAVY_WORK = LoopHeavyWork(LIGHT_REQUESTS, free_seconds=0.001, pause_factor=4.0)
# A merge is many short steps, so one at a time is enough. The merge of an ordinary visitor needs no pause.
HEAVY_MERGES = LoopHeavyWork(LIGHT_REQUESTS, free_seconds=0.01, pause_factor=1.0)
