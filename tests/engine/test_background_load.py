"""Background work has low priority and leaves the process unchanged."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import weakref

import pytest

from service.engine.background_load import run_in_background

pytestmark = pytest.mark.anyio


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) if sys.platform == "linux" else 10


async def test_priority_and_collector_are_changed_during_the_work_only() -> None:
    ours, thresholds = niceness(), gc.get_threshold()
    inside = await run_in_background(lambda: (niceness(), gc.get_threshold()[2] > 1_000_000))
    assert inside == (10, True)
    assert (niceness(), gc.get_threshold()) == (ours, thresholds)
    gc.unfreeze()


async def test_error_of_the_work_is_raised_and_collector_is_restored() -> None:
    gc.collect()  # which sets run_in_background by itself, from Python 3.12 on, what never dies
    thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()
    with pytest.raises(ZeroDivisionError):
        await run_in_background(lambda: 1 // 0)
    assert gc.get_threshold() == thresholds
    assert gc.get_freeze_count() == frozen  # it has made nothing that stays


async def test_result_is_frozen_and_concurrent_garbage_is_collected() -> None:
    class Node:
        """One of a cycle, which no reference count frees."""

        def __init__(self) -> None:
            self.itself = self

    def work() -> tuple[list[list[int]], list[weakref.ref[Node]]]:
        kept, garbage = [], []
        for n in range(50_000):
            kept.append([n])
            garbage.append(weakref.ref(Node()))
        return kept, garbage

    before = gc.get_freeze_count()
    kept, garbage = await run_in_background(work)
    assert gc.get_freeze_count() - before >= len(kept)
    # A pass spares what is just being made.
    assert sum(each() is not None for each in garbage) < len(garbage) / 100
    gc.unfreeze()


async def test_one_work_runs_at_a_time_beside_the_event_loop() -> None:
    running, most, ticks = 0, 0, 0
    go = threading.Event()

    def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        assert go.wait(10)
        running -= 1

    both = asyncio.gather(run_in_background(work), run_in_background(work))
    for _ in range(20):
        await asyncio.sleep(0.001)
        ticks += 1
    assert (ticks, both.done()) == (20, False)
    go.set()
    await both
    assert most == 1
    gc.unfreeze()
