"""Slots for work beyond an ordinary request (decision 0108).

Such work is a pipelined request, a body of many small chunks, or bytes that are dropped after a refusal. One
connection at a time gets a slot. Beside light requests a pause follows each slot, so that this work takes a fraction
of the event loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from time import perf_counter

from service.core.recommending.heavy_work import LIGHT_REQUESTS, LightRequests

PAUSE_FACTOR = 4  # of the length of the slot before
MIN_PAUSE_SECONDS = 0.001  # a timer's resolution
MAX_ANSWER_SECONDS = 0.02  # for which the next slot waits for the answer to a request of this one

Work = Callable[[], bool]


class WorkSlots:
    """Queue of work that is not urgent."""

    def __init__(self, loop: asyncio.AbstractEventLoop, light_requests: LightRequests = LIGHT_REQUESTS) -> None:
        self._loop = loop
        self._light_requests = light_requests
        self._waiting: OrderedDict[Work, None] = OrderedDict()
        self._began = self._free_at = 0.0
        self._scheduled = False  # whether a slot is due or not yet over
        self._answer_timer: asyncio.TimerHandle | None = None

    def ask(self, work: Work) -> None:
        """Call `work` in a slot of its own.

        If `work` returns True, it has started a request; its slot ends with `answered`.
        """
        self._waiting[work] = None
        self._schedule()

    def forget(self, work: Work) -> None:
        """Drop waiting work of a connection that is gone."""
        self._waiting.pop(work, None)

    def answered(self) -> None:
        """End the slot in which a request was started."""
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._end()

    def _schedule(self) -> None:
        if self._scheduled or not self._waiting:
            return
        self._scheduled = True
        pause = self._free_at - perf_counter()
        if pause > 0 and self._light_requests.are_expected():
            self._loop.call_later(pause, self._run)
        else:
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._began = perf_counter()
        started_request = False
        try:
            if self._waiting:
                work, _ = self._waiting.popitem(last=False)
                started_request = work()
        finally:
            if started_request and self._light_requests.are_expected():
                self._answer_timer = self._loop.call_later(MAX_ANSWER_SECONDS, self._end)
            else:
                self._end()

    def _end(self) -> None:
        self._answer_timer, self._scheduled = None, False
        now = perf_counter()
        self._free_at = now + max(MIN_PAUSE_SECONDS, PAUSE_FACTOR * (now - self._began))
        self._schedule()
