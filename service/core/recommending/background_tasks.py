"""Folds that nobody waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

from service.core.errors import ServiceError

_log = logging.getLogger(__name__)


class Background:
    """Runs folds beside the requests. One that fails costs nothing: the next reader folds the committed events."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, fold: Coroutine[object, object, object]) -> None:
        """Run `fold` soon; what it returns or raises reaches nobody."""
        task = asyncio.create_task(_quietly(fold))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Return when all that was started is through."""
        while self._tasks:
            await asyncio.gather(*self._tasks)


async def _quietly(fold: Coroutine[object, object, object]) -> None:
    try:
        await fold
    except ServiceError as error:
        _log.debug("background fold given up", extra={"code": error.code})
    except Exception:
        _log.exception("background fold failed")
