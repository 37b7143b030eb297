"""Work that takes seconds, beside requests that take milliseconds."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.core.jobs.low_priority_thread import lower_thread_priority

Result = TypeVar("Result")

# So many passes over the young until the collector's next full one: more than there will be.
_NEVER = 2**30

_one_at_a_time = threading.Lock()


async def aside(work: Callable[[], Result]) -> Result:
    """The result of `work`, from a thread of its own that gives way to the others; one such work at a time."""
    thread = ThreadPoolExecutor(1, "aside", initializer=lower_thread_priority)
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, _quietly, work)
    finally:
        thread.shutdown(wait=False)


def _quietly(work: Callable[[], Result]) -> Result:
    """Do it without full passes of the garbage collector over what it makes, then or later: that is there to stay.

    The short passes over what is young go on. What is frozen is never looked at again, and without these it would be
    the garbage of all requests that come meanwhile, too: at each reload more.
    """
    with _one_at_a_time:
        thresholds = gc.get_threshold()
        gc.collect()  # it has little to go over: whatever is large was frozen when it was made
        gc.set_threshold(*thresholds[:2], _NEVER)
        try:
            result = work()
            gc.collect(1)
            gc.freeze()
            return result
        finally:
            gc.set_threshold(*thresholds)
