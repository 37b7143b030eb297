"""A micro-batcher that never waits for company: what arrives while a batch runs forms the next one."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, NamedTuple, Protocol, TypeVar

from service.core.errors import DeadlineExceeded, Overloaded

_log = logging.getLogger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")


class BatchMeter(Protocol):
    """What a batcher reports about itself."""

    def batch(self, size: int, seconds: float, left: int) -> None:
        """A batch of `size` jobs took `seconds`, and `left` jobs wait now."""
        ...

    def shed(self) -> None:
        """A job was refused because the queue is full."""
        ...

    def expired(self, jobs: int) -> None:
        """So many jobs were not begun because their deadline had passed."""
        ...


class _Waiting(NamedTuple, Generic[Job, Result]):
    job: Job
    future: asyncio.Future[Result]
    deadline: float


class MicroBatcher(Generic[Job, Result]):
    """Turns many `submit(job)` into few `run(jobs)`.

    `run` gets at most `max_batch` jobs in order of arrival and returns one result for each, in that order; an
    exception instance among the results fails its own job alone, an exception raised fails the whole batch.
    One batch runs at a time. More than `max_queue` waiting jobs raise `Overloaded` at once. A job that is still
    waiting at its deadline, a time of `clock`, is never begun and raises `DeadlineExceeded`.

    Jobs of `submit_aside` give way: a batch takes them where it has room left, and they wait in a queue of their own,
    a quarter as long, so that they never take a place from the others.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Job]], Awaitable[Sequence[Result | Exception]]],
        *,
        max_batch: int,
        max_queue: int,
        meter: BatchMeter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._meter = meter
        self._clock = clock
        self._waiting: deque[_Waiting[Job, Result]] = deque()
        self._aside: deque[_Waiting[Job, Result]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, job: Job, deadline: float = math.inf) -> Result:
        """The result of `job`, from whichever batch takes it."""
        return await self._enqueue(job, deadline, self._waiting, self._max_queue)

    async def submit_aside(self, job: Job) -> Result:
        """As `submit`, for a job that can wait."""
        return await self._enqueue(job, math.inf, self._aside, self._max_queue // 4)

    async def close(self) -> None:
        """Return when every job that was submitted has its answer."""
        while self._worker is not None and not self._worker.done():
            await self._worker

    async def _enqueue(self, job: Job, deadline: float, queue: deque[_Waiting[Job, Result]], longest: int) -> Result:
        if len(queue) >= longest:
            self._meter.shed()
            raise Overloaded("the service is at its limit; try again shortly")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        queue.append(_Waiting(job, future, deadline))
        if self._worker is None or self._worker.done():
            # A batch belongs to no single request, so its logs must not carry the first one's request id.
            self._worker = asyncio.create_task(self._work(), context=Context())
            self._worker.add_done_callback(self._ended)
        return await future

    async def _work(self) -> None:
        while self._waiting or self._aside:
            if batch := self._next_batch():
                await self._run_batch(batch)

    def _next_batch(self) -> list[_Waiting[Job, Result]]:
        now = self._clock()
        batch: list[_Waiting[Job, Result]] = []
        late = 0
        while len(batch) < self._max_batch and (queue := self._waiting or self._aside):
            waiting = queue.popleft()
            if waiting.deadline >= now:
                batch.append(waiting)
                continue
            late += 1
            if not waiting.future.done():
                waiting.future.set_exception(
                    DeadlineExceeded("the service did not come to this in time and did nothing; try again shortly")
                )
        if late:
            self._meter.expired(late)
        return batch

    def _ended(self, worker: asyncio.Task[None]) -> None:
        """Leave no caller waiting for a worker that was stopped, even one that was stopped before it began."""
        if worker.cancelled() or worker.exception() is not None:
            for queue in (self._waiting, self._aside):
                for waiting in queue:
                    waiting.future.cancel()
                queue.clear()

    async def _run_batch(self, batch: list[_Waiting[Job, Result]]) -> None:
        started = time.perf_counter()
        results: Sequence[Result | Exception]
        try:
            results = await self._run([waiting.job for waiting in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"a batch of {len(batch)} jobs came back with {len(results)} results")
        except asyncio.CancelledError:
            for waiting in batch:
                waiting.future.cancel()
            raise
        except Exception as error:
            results = [error] * len(batch)
        seconds = time.perf_counter() - started
        for (_, future, _), result in zip(batch, results, strict=True):
            if future.done():  # the caller has gone away; its work is done all the same
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        try:
            self._meter.batch(len(batch), seconds, len(self._waiting) + len(self._aside))
        except Exception:
            _log.exception("a batch could not be metered")
