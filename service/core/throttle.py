"""Throttle for background work."""

from __future__ import annotations

import asyncio
import time


async def throttle(started_at: float, max_fraction: float) -> None:
    """Sleep until the work used at most `max_fraction` of the time.

    Args:
        started_at: when the work began, as `time.monotonic()`.
        max_fraction: above 0, at most 1.
    """
    await asyncio.sleep((time.monotonic() - started_at) * (1 / max_fraction - 1))
