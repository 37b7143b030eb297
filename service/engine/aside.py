"""Work that takes seconds, beside requests that take milliseconds."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.core.priority import give_way

Result = TypeVar("Result")

# Seconds after which a thread that runs Python lets another one have the GIL. The interpreter's own 5 ms would be
# the time that each step of a request waits.
_TURN = 0.5e-3

_one_at_a_time = threading.Lock()


async def aside(work: Callable[[], Result]) -> Result:
    """The result of `work`, from a thread of its own that gives way to the others; one such work at a time."""
    thread = ThreadPoolExecutor(1, "aside", initializer=give_way)
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, _quietly, work)
    finally:
        thread.shutdown(wait=False)


def _quietly(work: Callable[[], Result]) -> Result:
    """Do it without passes of the garbage collector over what it makes, then or later: that is there to stay."""
    with _one_at_a_time:
        turn = sys.getswitchinterval()
        sys.setswitchinterval(_TURN)
        gc.disable()
        try:
            return work()
        finally:
            gc.freeze()
            gc.enable()
            sys.setswitchinterval(turn)
