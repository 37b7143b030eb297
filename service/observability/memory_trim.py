"""Return of freed memory to the system.

The C library keeps what large requests have freed, for later ones. After a flood of them a worker would stay larger
than it needs to be.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import math
import resource
from collections.abc import Callable
from pathlib import Path

from service.core.periodic_task import PeriodicTask
from service.core.recommending.heavy_work import LIGHT_REQUESTS, LightRequests

INTERVAL_SECONDS = 5.0
GROWTH, URGENT_GROWTH = 1.05, 1.4  # above the least memory since the last trim

_log = logging.getLogger(__name__)


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def trim_function() -> Callable[[int], int] | None:
    """Return `malloc_trim` of the GNU C library; None on other systems."""
    function: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return function if Path("/proc/self/statm").exists() else None


class MemoryTrim:
    """Job that trims this process's memory after it has grown.

    A trim takes some 0.2 ms for each megabyte that it returns, and other threads may wait for it. So it waits for a
    second without light requests, unless memory has grown by much.
    """

    def __init__(
        self,
        trim: Callable[[int], int] | None = None,
        resident: Callable[[], int] = resident_bytes,
        light_requests: LightRequests = LIGHT_REQUESTS,
    ) -> None:
        self._trim = trim or trim_function()
        self._resident = resident
        self._light_requests = light_requests
        self._least = math.inf
        self._task = PeriodicTask(self._check, _log, "cannot trim memory", retry_seconds=60.0)

    def start(self) -> None:
        """Start to work in the background."""
        if self._trim is not None:
            self._task.start()

    async def close(self) -> None:
        """Stop."""
        await self._task.close()

    async def _check(self) -> float:
        now = self._resident()
        self._least = min(self._least, now)
        limit = URGENT_GROWTH if self._light_requests.are_expected() else GROWTH
        if now > limit * self._least and self._trim is not None:
            await asyncio.to_thread(self._trim, 0)
            self._least = self._resident()
            if now - self._least > 0.1 * now:
                _log.info(
                    "returned freed memory to the system",
                    extra={"mb_before": now >> 20, "mb_after": int(self._least) >> 20},
                )
        return INTERVAL_SECONDS
