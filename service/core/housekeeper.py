"""What the log needs done beside the requests. Every worker does it: it costs little, and twice is as once."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context

from service.core.errors import ServiceError
from service.core.ports import Store
from service.core.seldom import SeldomWarnings

_log = logging.getLogger(__name__)
_outages = SeldomWarnings(_log)

MERGES_SECONDS = 60.0


class Housekeeper:
    """Finishes merges that a process or a server left half done, at the start and once a minute."""

    def __init__(self, store: Store, *, pause: float = MERGES_SECONDS) -> None:
        self._store = store
        self._pause = pause
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._worker = asyncio.create_task(self._work(), context=Context())

    async def close(self) -> None:
        """Stop. What that interrupts is a call that was cut off, like any other."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            try:
                finished = await self._store.finish_merges()
                if finished:
                    _log.info("finished merges that were cut off", extra={"count": finished})
            except ServiceError as error:
                _outages.warn(error.code, "merges that were cut off wait for the log", reason=error.for_log)
            except Exception:
                _log.exception("finishing merges failed")
            await asyncio.sleep(self._pause)
