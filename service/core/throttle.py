"""Work that takes no more than its share of the time."""

from __future__ import annotations

import asyncio
import time


async def rest(began: float, share: float) -> None:
    """For so long that the work since `began`, a time of `monotonic`, was no more than `share` of the time."""
    await asyncio.sleep((time.monotonic() - began) * (1 / share - 1))
