"""Micro-batcher: requests that arrive while a batch runs form the next batch."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, NamedTuple, Protocol, TypeVar

from service.core.caller_name import current_caller
from service.core.errors import DeadlineExceeded, Overloaded
from service.core.recommending.fair_queue import FairQueue

_log = logging.getLogger(__name__)

Request = TypeVar("Request")
Result = TypeVar("Result")

# Time after a normal request in which low-priority requests get their share only.
QUIET_SECONDS = 1.0
LOW_PRIORITY_QUEUE_DIVISOR = 4  # the low-priority queue is this many times shorter than the normal one


class BatchMeter(Protocol):
    """Metrics of one micro-batcher."""

    def batch_finished(self, size: int, seconds: float, queued: int) -> None:
        """Record a batch of `size` requests; `queued` ones are waiting."""
        ...

    def request_rejected(self) -> None:
        """Count a request that was rejected because the queue is full."""
        ...

    def requests_expired(self, count: int) -> None:
        """Count requests that were dropped because their deadline had passed."""
        ...


def _one(request: object) -> int:
    return 1


def _overloaded() -> Overloaded:
    return Overloaded("the service is at its limit; try again shortly")


class _Queued(NamedTuple, Generic[Request, Result]):
    request: Request
    future: asyncio.Future[Result]
    deadline: float


class MicroBatcher(Generic[Request, Result]):
    """Runs concurrent requests in few batches.

    One batch runs at a time, and no request waits for others to fill a batch: a request that finds the batcher idle
    runs at once, alone. Low-priority requests have a queue of their own, and a batch takes them only while the
    normal queue is empty.

    Callers (API keys) alternate. If the queue is full, the caller with the most queued requests loses its newest one,
    so a heavy caller never makes the requests of a light one fail.

    With `low_priority_share` batches also take low-priority requests of that cost, at least one, so that these make
    progress beside any load. The batches after such a batch take none, for as long as it took: half of the time is
    for normal requests. Low-priority ones fill whole batches once no normal one has arrived for QUIET_SECONDS.

    Args:
        run_batch: Gets at most `max_batch` requests, each caller's in order of arrival, and returns one result each,
            in the order given. An exception among the results fails its own request; an exception raised fails the
            whole batch.
        max_batch: Requests in one batch.
        max_queue: Queued requests; beyond them a request raises `Overloaded`.
        meter: Metrics of this batcher.
        clock: Seconds; the clock of all deadlines.
        low_priority_share: Cost of the low-priority requests in each batch. 0: a batch takes them only while the
            normal queue is empty.
        cost: Cost of a low-priority request.
    """

    def __init__(
        self,
        run_batch: Callable[[Sequence[Request]], Awaitable[Sequence[Result | Exception]]],
        *,
        max_batch: int,
        max_queue: int,
        meter: BatchMeter,
        clock: Callable[[], float] = time.monotonic,
        low_priority_share: int = 0,
        cost: Callable[[Request], int] = _one,
    ) -> None:
        self._run_batch = run_batch
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._meter = meter
        self._clock = clock
        self._low_priority_share = low_priority_share
        self._cost = cost
        self._busy_until = -math.inf  # until then, normal requests are expected
        self._low_priority_from = -math.inf  # until then, no low-priority requests are taken
        self._shared = False  # whether the newest batch has low-priority requests although normal ones are expected
        self._resume: asyncio.Event | None = None  # ends the pause, if there is one
        self._queue: FairQueue[_Queued[Request, Result]] = FairQueue()
        self._low_priority_queue: FairQueue[_Queued[Request, Result]] = FairQueue()
        self._batches: asyncio.Task[None] | None = None

    async def submit(self, request: Request, deadline: float = math.inf, *, low_priority: bool = False) -> Result:
        """Queue `request` and return its result.

        Raises:
            Overloaded: The queue is full.
            DeadlineExceeded: The request was still queued at `deadline`, a time of `clock`; it was not started.
        """
        queue, limit = self._queue, self._max_queue
        if low_priority:
            queue, limit = self._low_priority_queue, limit // LOW_PRIORITY_QUEUE_DIVISOR
        caller = current_caller.get()
        if queue.length >= limit:
            self._meter.request_rejected()
            crowded_out = queue.make_room(caller)
            if crowded_out is None:
                raise _overloaded()
            if not crowded_out.future.done():
                crowded_out.future.set_exception(_overloaded())
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        queue.append(caller, _Queued(request, future, deadline))
        if self._resume is not None and not low_priority:
            self._resume.set()
        if self._batches is None or self._batches.done():
            # An empty context: a batch serves many requests, so its logs must not carry the first one's request id.
            self._batches = asyncio.create_task(self._run_batches(), context=Context())
            self._batches.add_done_callback(self._cancel_queued)
        return await future

    async def close(self) -> None:
        """Wait until every submitted request has its result."""
        while self._batches is not None and not self._batches.done():
            await self._batches

    async def _run_batches(self) -> None:
        """Run batches until no request is queued."""
        while self._queue.length or self._low_priority_queue.length:
            batch = self._next_batch()
            if not batch:
                await self._pause()
                continue
            started_at = time.perf_counter()
            results: Sequence[Result | Exception]
            try:
                results = await self._run_batch([each.request for each in batch])
                if len(results) != len(batch):
                    raise RuntimeError(f"a batch of {len(batch)} requests returned {len(results)} results")
            except asyncio.CancelledError:
                for each in batch:
                    each.future.cancel()
                raise
            except Exception as error:
                results = [error] * len(batch)
            seconds = time.perf_counter() - started_at
            if self._shared:
                self._low_priority_from = self._clock() + seconds
            for (_, future, _), result in zip(batch, results, strict=True):
                if future.done():  # the caller was cancelled
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
            try:
                self._meter.batch_finished(len(batch), seconds, self._queue.length + self._low_priority_queue.length)
            except Exception:
                _log.exception("cannot record the metrics of a batch")

    async def _pause(self) -> None:
        """Wait until low-priority requests may be taken, or a normal one arrives."""
        seconds = self._low_priority_from - self._clock()
        if self._queue.length or not self._low_priority_queue.length or seconds <= 0:
            return
        self._resume = resume = asyncio.Event()
        timer = asyncio.get_running_loop().call_later(seconds, resume.set)
        try:
            await resume.wait()
        finally:
            timer.cancel()
            self._resume = None

    def _next_batch(self) -> list[_Queued[Request, Result]]:
        """Take requests from the queues, and fail those whose deadline has passed."""
        now = self._clock()
        batch: list[_Queued[Request, Result]] = []
        expired: list[_Queued[Request, Result]] = []
        while self._queue.length and len(batch) < self._max_batch:
            for queued in self._queue.take(self._max_batch - len(batch)):
                (batch if queued.deadline >= now else expired).append(queued)
        self._shared = False
        if self._low_priority_share and batch:
            self._busy_until = now + QUIET_SECONDS
        if self._low_priority_queue.length:
            self._take_low_priority(now, batch, expired)
        for queued in expired:
            if not queued.future.done():
                queued.future.set_exception(
                    DeadlineExceeded("the request was not started before its deadline; try again shortly")
                )
        if expired:
            self._meter.requests_expired(len(expired))
        return batch

    def _take_low_priority(
        self, now: float, batch: list[_Queued[Request, Result]], expired: list[_Queued[Request, Result]]
    ) -> None:
        """Add low-priority requests to the batch."""
        room, normal, shared = self._max_batch - len(batch), len(batch), now < self._busy_until
        if shared:
            room = self._low_priority_share if now >= self._low_priority_from else 0
        while self._low_priority_queue.length and room > 0:
            for queued in self._low_priority_queue.take(1 if self._low_priority_share else room):
                (batch if queued.deadline >= now else expired).append(queued)
                room -= self._cost(queued.request) if queued.deadline >= now else 0
        self._shared = shared and len(batch) > normal

    def _cancel_queued(self, batches: asyncio.Task[None]) -> None:
        """Cancel the queued requests if the batches were stopped."""
        if batches.cancelled() or batches.exception() is not None:
            for queue in (self._queue, self._low_priority_queue):
                for queued in queue:
                    queued.future.cancel()
                queue.clear()
