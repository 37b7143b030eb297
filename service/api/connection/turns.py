"""Turns of connections that ask for more than an ordinary request (decision 0108).

More: pipelined requests, bodies of many small chunks, bytes that nobody reads any more. One connection at a time gets
a turn, and beside light requests a pause follows each turn, so that such work takes a fraction of the event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter

from service.core.heavy_work import LIGHT_REQUESTS, LightRequests

PAUSE_FACTOR = 4  # of the length of the turn before
MIN_PAUSE_SECONDS = 0.001  # a timer's resolution; also for what a turn starts, such as a pipelined request

Work = Callable[[], None]


class Turns:
    """Queue of work that is not urgent."""

    def __init__(self, loop: asyncio.AbstractEventLoop, light_requests: LightRequests = LIGHT_REQUESTS) -> None:
        self._loop = loop
        self._light_requests = light_requests
        self._waiting: deque[Work] = deque()
        self._free_at = 0.0
        self._scheduled = False

    def ask(self, work: Work) -> None:
        """Call `work` when it is its turn."""
        self._waiting.append(work)
        self._schedule()

    def _schedule(self) -> None:
        if self._scheduled or not self._waiting:
            return
        self._scheduled = True
        pause = self._free_at - self._loop.time()
        if pause > 0 and self._light_requests.are_expected():
            self._loop.call_later(pause, self._run)
        else:
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        began = perf_counter()
        try:
            self._waiting.popleft()()
        finally:
            spent = perf_counter() - began
            self._free_at = self._loop.time() + max(MIN_PAUSE_SECONDS, PAUSE_FACTOR * spent)
            self._schedule()
