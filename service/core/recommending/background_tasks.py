"""Background tasks that no request waits for."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from contextvars import Context, copy_context

from service.core.errors import ServiceError

_log = logging.getLogger(__name__)


MAX_RUNNING = 32
MAX_WAITING = 4096


class BackgroundTasks:
    """Runs replays beside the requests, a few at a time.

    A failed or dropped one loses nothing: the next request of the user replays the committed events.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Coroutine[object, object, object], Context]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    def start(self, replay: Coroutine[object, object, object]) -> None:
        """Run `replay` soon; drop it if too many wait."""
        if len(self._waiting) >= MAX_WAITING:
            replay.close()
            return
        self._waiting.append((replay, copy_context()))  # so that its logs carry the request id
        if len(self._running) < MAX_RUNNING:
            running = asyncio.create_task(self._run_queued(), context=Context())
            self._running.add(running)
            running.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Wait for all started replays."""
        while self._running:
            await asyncio.gather(*self._running)

    async def _run_queued(self) -> None:
        while self._waiting:
            replay, context = self._waiting.popleft()
            await asyncio.create_task(_run_logged(replay), context=context)


async def _run_logged(replay: Coroutine[object, object, object]) -> None:
    try:
        await replay
    except ServiceError as error:
        _log.debug("background replay cancelled", extra={"code": error.code})
    except Exception:
        _log.exception("background replay failed")
