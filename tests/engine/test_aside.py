"""Work beside the requests gives way to them, and leaves the process as it found it."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading

import pytest

from service.engine.aside import aside

pytestmark = pytest.mark.anyio


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) if sys.platform == "linux" else 10


async def test_it_gives_way_and_nothing_of_that_stays() -> None:
    turn, ours = sys.getswitchinterval(), niceness()
    inside = await aside(lambda: (niceness(), sys.getswitchinterval() < turn, gc.isenabled()))
    assert inside == (10, True, False)
    assert (niceness(), sys.getswitchinterval(), gc.isenabled()) == (ours, turn, True)
    gc.unfreeze()


async def test_what_it_raises_reaches_the_caller_and_undoes_as_much() -> None:
    turn = sys.getswitchinterval()
    with pytest.raises(ZeroDivisionError):
        await aside(lambda: 1 // 0)
    assert (sys.getswitchinterval(), gc.isenabled()) == (turn, True)
    gc.unfreeze()


async def test_one_at_a_time_and_the_event_loop_goes_on() -> None:
    running, most, ticks = 0, 0, 0
    go = threading.Event()

    def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        assert go.wait(10)
        running -= 1

    both = asyncio.gather(aside(work), aside(work))
    for _ in range(20):
        await asyncio.sleep(0.001)
        ticks += 1
    assert (ticks, both.done()) == (20, False)
    go.set()
    await both
    assert most == 1
    gc.unfreeze()
