"""WorkSlots of heavy work beside light requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from service.core.errors import DeadlineExceeded
from service.core.recommending.heavy_work import BUSY_SECONDS, HeavyWork, LightRequests, LoopHeavyWork

pytestmark = pytest.mark.anyio


class Clock:
    """Clock that moves when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds
        await asyncio.sleep(0)


class Bench:
    """Heavy work with a clock, and what it did."""

    def __init__(self, *, light: bool = True, **settings: float) -> None:
        self.clock, self.done = Clock(), list[str]()
        self.light = LightRequests(self.clock)
        if light:
            self.light.newest = self.clock.now
        self.tested = HeavyWork(
            self.light, clock=self.clock, sleep=self.clock.sleep, free_seconds=0.001, pause_factor=4.0, **settings
        )
        self.running = self.most_running = 0

    def work(self, name: str, seconds: float = 0.0) -> Callable[[], Awaitable[str]]:
        async def run() -> str:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            await asyncio.sleep(0)
            self.clock.now += seconds
            self.done.append(name)
            self.running -= 1
            return name

        return run


async def test_work_runs_at_once_without_light_requests() -> None:
    bench = Bench(light=False)
    names = [str(number) for number in range(5)]
    assert await asyncio.gather(*[bench.tested.run(bench.work(name, 0.5)) for name in names]) == names
    assert bench.most_running == 5
    assert bench.clock.slept == []


async def test_one_piece_at_a_time_runs_beside_light_requests_and_callers_alternate() -> None:
    bench = Bench()
    heavy = [bench.tested.run(bench.work(f"heavy {number}"), caller="heavy") for number in range(4)]
    await asyncio.gather(*heavy, bench.tested.run(bench.work("other"), caller="other"))
    assert bench.most_running == 1
    assert bench.done[0] == "heavy 0"
    assert "other" in bench.done[1:3]
    assert [name for name in bench.done if name != "other"] == [f"heavy {number}" for number in range(4)]


async def test_pause_is_as_long_as_the_work_before_asks_for() -> None:
    bench = Bench()
    for seconds in (0.0005, 0.011, 0.0):
        await bench.tested.run(bench.work("", seconds))
    assert bench.clock.slept == [0.04]  # 4 times what exceeds the free millisecond
    bench.clock.now += BUSY_SECONDS
    await bench.tested.run(bench.work("", 1.0))
    await bench.tested.run(bench.work(""))
    assert bench.clock.slept == [0.04]  # nobody waits for the end of a pause when no light request came


async def test_work_whose_slot_does_not_come_in_time_is_not_begun() -> None:
    bench = Bench()
    release = asyncio.Event()

    async def wait() -> bool:
        return await release.wait()

    first = asyncio.create_task(bench.tested.run(wait))
    await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded):
        await bench.tested.run(bench.work("late"), 0.001)
    release.set()
    assert await first
    assert await bench.tested.run(bench.work("next")) == "next"
    assert bench.done == ["next"]


async def test_cancelled_work_gives_its_slot_to_the_next() -> None:
    bench = Bench()
    release = asyncio.Event()

    async def wait() -> bool:
        return await release.wait()

    first = asyncio.create_task(bench.tested.run(wait))
    waiting = [asyncio.create_task(bench.tested.run(bench.work(str(number)))) for number in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    first.cancel()
    await asyncio.sleep(0)
    waiting[1].cancel()
    assert await waiting[2] == "2"
    assert bench.done == ["2"]


async def test_failed_work_counts_and_ends_its_slot() -> None:
    bench = Bench()

    async def fail() -> None:
        bench.clock.now += 0.101
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bench.tested.run(fail)
    assert await bench.tested.run(bench.work("next")) == "next"
    assert bench.clock.slept == [0.4]


def test_loop_that_is_gone_keeps_no_slot_of_another() -> None:
    light_requests = LightRequests()
    light_requests.newest = time.monotonic()
    work = LoopHeavyWork(light_requests, free_seconds=1.0, pause_factor=1.0)

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    async def begin() -> None:
        asyncio.get_running_loop().create_task(work.run(never))
        await asyncio.sleep(0)  # the work begins

    async def value() -> int:
        return 7

    killed = asyncio.new_event_loop()
    killed.run_until_complete(begin())  # it stops in the middle of the work, as a killed process does
    assert asyncio.run(work.run(value, 5.0)) == 7
    for task in asyncio.all_tasks(killed):
        task.cancel()
    killed.run_until_complete(asyncio.sleep(0))
    killed.close()
