"""Background execution of long work, such as loading a model."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from service.core.jobs.low_priority_thread import lower_thread_priority

Result = TypeVar("Result")

# Threshold of the collector's oldest generation that is never reached.
_NEVER = 2**30

_one_at_a_time = threading.Lock()


async def run_in_background(work: Callable[[], Result]) -> Result:
    """Run `work` in a low-priority thread and return its result.

    One such work runs at a time.
    """
    thread = ThreadPoolExecutor(1, "background-load", initializer=lower_thread_priority)
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, _run_without_full_collections, work)
    finally:
        thread.shutdown(wait=False)


def _run_without_full_collections(work: Callable[[], Result]) -> Result:
    """Run `work` without full garbage collections, then freeze the objects it made.

    A full collection walks all objects of a loaded model and stops every thread, also later, unless they are frozen
    (decision 0035). Frozen objects are never collected. Collections of young objects go on meanwhile, so that garbage
    of concurrent requests is not frozen with the model (decision 0072).
    """
    with _one_at_a_time:
        thresholds = gc.get_threshold()
        gc.collect()  # fast, because earlier models are frozen
        gc.set_threshold(*thresholds[:2], _NEVER)
        try:
            result = work()
            gc.collect(1)
            gc.freeze()
            return result
        finally:
            gc.set_threshold(*thresholds)
