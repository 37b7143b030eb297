"""Background tasks that no request waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

from service.core.errors import ServiceError

_log = logging.getLogger(__name__)


class BackgroundTasks:
    """Runs replays beside the requests.

    A failed one loses nothing: the next request of the user replays the committed events.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, replay: Coroutine[object, object, object]) -> None:
        """Run `replay` as a task; log its error."""
        task = asyncio.create_task(_run_logged(replay))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for all started tasks."""
        while self._tasks:
            await asyncio.gather(*self._tasks)


async def _run_logged(replay: Coroutine[object, object, object]) -> None:
    try:
        await replay
    except ServiceError as error:
        _log.debug("background replay cancelled", extra={"code": error.code})
    except Exception:
        _log.exception("background replay failed")
