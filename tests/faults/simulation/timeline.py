"""Simulated time, and processes with an event loop each, on one queue.

Nothing here waits, reads a clock or uses random numbers, so the order of all steps follows from what is scheduled.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

MAX_STEPS = 100_000


class Timeline:
    """Queue of scheduled steps; equal times run in order of scheduling."""

    def __init__(self) -> None:
        self.now = 0.0
        self.faults: list[str] = []
        self._due: list[tuple[float, int, Process, asyncio.Handle]] = []
        self._numbers = count()

    def at(self, when: float, process: Process, handle: asyncio.Handle) -> None:
        heapq.heappush(self._due, (max(when, self.now), next(self._numbers), process, handle))

    def run(self) -> None:
        """Run all steps; more than `MAX_STEPS` are a fault."""
        try:
            for _ in range(MAX_STEPS):
                if not self._due:
                    return
                self.now, _, process, handle = heapq.heappop(self._due)
                if process.paused_until > self.now:
                    self.at(process.paused_until, process, handle)
                elif process.alive and not handle.cancelled():
                    asyncio._set_running_loop(process)
                    handle._run()
            self.faults.append(f"steps remain after {MAX_STEPS} steps")
        finally:
            asyncio._set_running_loop(None)


class Process(asyncio.AbstractEventLoop):
    """Event loop of one process.

    After a kill nothing of it runs any more: no step, no callback, no `finally`.
    """

    def __init__(self, timeline: Timeline, seconds_of_thread: Callable[[], float] = lambda: 0.0) -> None:
        self.alive = True
        self.paused_until = 0.0  # steps due meanwhile run then
        self._timeline = timeline
        self._seconds_of_thread = seconds_of_thread
        # References, so that the garbage collector does not close tasks of a killed process.
        self._tasks: list[asyncio.Task[Any]] = []

    def kill(self) -> None:
        self.alive = False

    def time(self) -> float:
        return self._timeline.now

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._timeline.at(self._timeline.now, self, handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        return self.call_at(self._timeline.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timeline.at(when, self, handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, **options)
        self._tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run `func` in one step after a random delay, without the executor."""
        future = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(self._seconds_of_thread(), work)
        return future

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self.alive:
            self._timeline.faults.append(f"{context['message']}: {context.get('exception')!r}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: `run` skips a cancelled handle."""
