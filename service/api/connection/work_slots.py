"""Slots for work beyond an ordinary request (decision 0108).

Such work is a pipelined request, a body of many small chunks, bytes that are dropped after a refusal, or a request of
a client that was refused too often. One connection at a time gets a slot, and addresses alternate. Beside light
requests a pause follows each slot, so that this work takes a fraction of the event loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

from service.core.recommending.heavy_work import LIGHT_REQUESTS, LightRequests

PAUSE_FACTOR = 4  # of the length of the slot before
MIN_PAUSE_SECONDS = 0.001  # a timer's resolution
MAX_ANSWER_SECONDS = 0.02  # a slot that started a request lasts until the answer, but no longer than this
MAX_SKIPPED = 64  # queued connections with nothing to do that one slot passes over
# Connections that wait, and their received bytes. Each connection is some 10 KB more.
MAX_WAITING, MAX_WAITING_BYTES = 1024, 16 * 1024 * 1024

# Returns whether it has started a request, whose answer ends the slot; None if there was nothing to do.
Work = Callable[[], bool | None]


class _Waiting(NamedTuple):
    """Bytes that are held for work, and the way to drop it."""

    size: int
    drop: Callable[[], None]


class WorkSlots:
    """Queue of work that is not urgent."""

    def __init__(self, loop: asyncio.AbstractEventLoop, light_requests: LightRequests = LIGHT_REQUESTS) -> None:
        self._loop = loop
        self._light_requests = light_requests
        self._queues: OrderedDict[str, OrderedDict[Work, _Waiting]] = OrderedDict()
        self._count = self._bytes = 0
        self._began = self._free_at = 0.0
        self._scheduled = False  # whether a slot is due or not yet over
        self._answer_timer: asyncio.TimerHandle | None = None

    def ask(self, account: str, work: Work, drop: Callable[[], None], size: int = 0) -> None:
        """Call `work` in a slot of its own.

        If too much waits, the newest work of the account with the most is dropped.

        Args:
            account: Accounts alternate; the address of the client.
            work: The work. If it starts a request, its slot ends with `answered`.
            drop: Closes the connection of the work.
            size: Bytes that are held for the work.
        """
        self.forget(account, work)
        self._queues.setdefault(account, OrderedDict())[work] = _Waiting(size, drop)
        self._count += 1
        self._bytes += size
        while self._count > MAX_WAITING or self._bytes > MAX_WAITING_BYTES:
            longest = max(self._queues, key=lambda each: len(self._queues[each]))
            dropped = next(reversed(self._queues[longest]))
            self._remove(longest, dropped).drop()
        self._schedule()

    def forget(self, account: str, work: Work) -> None:
        """Drop waiting work of a connection that is gone."""
        if work in self._queues.get(account, ()):
            self._remove(account, work)

    def answered(self) -> None:
        """End the slot in which a request was started."""
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._end()

    def _remove(self, account: str, work: Work) -> _Waiting:
        queue = self._queues[account]
        waiting = queue.pop(work)
        if not queue:
            del self._queues[account]
        self._count -= 1
        self._bytes -= waiting.size
        return waiting

    def _next(self) -> Work:
        account, queue = next(iter(self._queues.items()))
        work = next(iter(queue))
        self._remove(account, work)
        if account in self._queues:
            self._queues.move_to_end(account)
        return work

    def _schedule(self) -> None:
        if self._scheduled or not self._queues:
            return
        self._scheduled = True
        pause = self._free_at - perf_counter()
        if pause > 0 and self._light_requests.are_expected():
            self._loop.call_later(pause, self._run)
        else:
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._began = perf_counter()
        started_request: bool | None = None
        try:
            for _ in range(MAX_SKIPPED):
                if started_request is not None or not self._queues:
                    break
                started_request = self._next()()
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
