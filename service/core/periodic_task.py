"""Background task that repeats one step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context

from service.core.errors import StoreUnavailable
from service.core.log_throttle import ThrottledLogger


class PeriodicTask:
    """Repeats one step in the background until it is closed.

    A step that fails is logged and repeated: an outage of the store as a throttled warning, any other exception with
    its traceback.
    """

    def __init__(
        self,
        step: Callable[[], Awaitable[float]],
        logger: logging.Logger,
        failure_message: str,
        *,
        retry_seconds: float,
        first_delay_seconds: float = 0.0,
    ) -> None:
        """Create the task without starting it.

        Args:
            step: does one piece of work and returns the seconds to pause after it.
            logger: the logger of the module that owns the step.
            failure_message: the log message of a failed step.
            retry_seconds: the pause after a failed step.
            first_delay_seconds: the pause before the first step.
        """
        self._step = step
        self._logger = logger
        self._outages = ThrottledLogger(logger)
        self._failure_message = failure_message
        self._retry_seconds = retry_seconds
        self._first_delay_seconds = first_delay_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task, without a request's id in its log context."""
        self._task = asyncio.create_task(self._run(), context=Context())

    async def close(self) -> None:
        """Cancel the running step, and return when it has ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        await asyncio.sleep(self._first_delay_seconds)
        while True:
            pause_seconds = self._retry_seconds
            try:
                pause_seconds = await self._step()
            except StoreUnavailable as error:
                self._outages.warn(error.code, self._failure_message, reason=error.for_log)
            except Exception:
                self._logger.exception(self._failure_message)
            await asyncio.sleep(pause_seconds)
