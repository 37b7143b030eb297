"""A micro-batcher that never waits for company: what arrives while a batch runs forms the next one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from service.core.errors import Overloaded

_log = logging.getLogger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")


class MicroBatcher(Generic[Job, Result]):
    """Turns many `submit(job)` into few `run(jobs)`.

    `run` gets at most `max_batch` jobs in order of arrival and returns one result for each, in that order; an
    exception instance among the results fails its own job alone, an exception raised fails the whole batch.
    One batch runs at a time. More than `max_queue` waiting jobs raise `Overloaded` at once.

    Jobs of `submit_aside` give way: a batch takes them where it has room left, and they wait in a queue of their own,
    a quarter as long, so that they never take a place from the others.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Job]], Awaitable[Sequence[Result | Exception]]],
        *,
        max_batch: int,
        max_queue: int,
        on_batch: Callable[[int, float], None],
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._on_batch = on_batch
        self._waiting: deque[tuple[Job, asyncio.Future[Result]]] = deque()
        self._aside: deque[tuple[Job, asyncio.Future[Result]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, job: Job) -> Result:
        """The result of `job`, from whichever batch takes it."""
        return await self._enqueue(job, self._waiting, self._max_queue)

    async def submit_aside(self, job: Job) -> Result:
        """As `submit`, for a job that can wait."""
        return await self._enqueue(job, self._aside, self._max_queue // 4)

    async def close(self) -> None:
        """Return when every job that was submitted has its answer."""
        while self._worker is not None and not self._worker.done():
            await self._worker

    async def _enqueue(self, job: Job, queue: deque[tuple[Job, asyncio.Future[Result]]], longest: int) -> Result:
        if len(queue) >= longest:
            raise Overloaded("the service is at its limit; try again shortly")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        queue.append((job, future))
        if self._worker is None or self._worker.done():
            # A batch belongs to no single request, so its logs must not carry the first one's request id.
            self._worker = asyncio.create_task(self._work(), context=Context())
            self._worker.add_done_callback(self._ended)
        return await future

    async def _work(self) -> None:
        while waiting := len(self._waiting) + len(self._aside):
            size = min(waiting, self._max_batch)
            await self._run_batch([(self._waiting or self._aside).popleft() for _ in range(size)])

    def _ended(self, worker: asyncio.Task[None]) -> None:
        """Leave no caller waiting for a worker that was stopped, even one that was stopped before it began."""
        if worker.cancelled() or worker.exception() is not None:
            for queue in (self._waiting, self._aside):
                for _, future in queue:
                    future.cancel()
                queue.clear()

    async def _run_batch(self, batch: list[tuple[Job, asyncio.Future[Result]]]) -> None:
        started = time.perf_counter()
        results: Sequence[Result | Exception]
        try:
            results = await self._run([job for job, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"a batch of {len(batch)} jobs came back with {len(results)} results")
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:
            results = [error] * len(batch)
        seconds = time.perf_counter() - started
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():  # the caller has gone away; its work is done all the same
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        try:
            self._on_batch(len(batch), seconds)
        except Exception:
            _log.exception("a batch could not be metered")
