"""The queue in which callers alternate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from service.core.caller_name import current_caller
from service.core.errors import Overloaded
from service.core.recommending.fair_queue import FairQueue
from service.core.recommending.micro_batcher import MicroBatcher
from tests.core.fakes import NullBatchMeter


def test_callers_alternate_and_each_keeps_its_order() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        queue.append(item[0], item)
    assert queue.length == 6
    assert queue.take(4) == ["a1", "b1", "c1", "a2"]
    assert queue.length == 2
    assert queue.take(4) == ["b2", "a3"]
    assert queue.length == 0


def test_one_caller_keeps_its_order_and_what_is_beyond_the_count() -> None:
    queue: FairQueue[int] = FairQueue()
    for item in range(5):
        queue.append("a", item)
    assert queue.take(3) == [0, 1, 2]
    assert queue.length == 2
    assert queue.take(2) == [3, 4]
    assert (queue.length, queue.take(1), list(queue)) == (0, [], [])


def test_caller_that_loses_its_only_item_is_forgotten() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a", "b"):
        queue.append(item, item)
    assert queue.make_room("c") in ("a", "b")
    queue.append("c", "c")
    assert len(queue.take(3)) == 2
    assert queue.length == 0


def test_room_is_made_by_caller_with_most_items() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "b1"):
        queue.append(item[0], item)
    assert queue.make_room("a") is None
    assert queue.make_room("c") == "a2"
    assert queue.make_room("b") is None
    assert list(queue) == ["a1", "b1"]


def test_heavy_caller_neither_delays_nor_fails_a_light_one() -> None:
    async def scenario() -> None:
        batches: list[list[str]] = []
        gate = asyncio.Event()

        async def run(requests: Sequence[str]) -> list[str | Exception]:
            await gate.wait()
            batches.append(list(requests))
            return list(requests)

        batcher = MicroBatcher(run, max_batch=4, max_queue=10, meter=NullBatchMeter())

        async def send(caller: str, request: str) -> str:
            current_caller.set(caller)
            return await batcher.submit(request)

        heavy = [asyncio.create_task(send("heavy", f"heavy {number}")) for number in range(20)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        light = [asyncio.create_task(send("light", f"light {number}")) for number in range(3)]
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*light) == ["light 0", "light 1", "light 2"]
        outcomes = await asyncio.gather(*heavy, return_exceptions=True)
        assert sum(isinstance(outcome, Overloaded) for outcome in outcomes) >= 9
        assert "light 0" in batches[1]
        assert "light 1" in batches[1]

    asyncio.run(scenario())


def test_only_caller_is_refused_beyond_the_queue() -> None:
    async def scenario() -> None:
        gate = asyncio.Event()

        async def run(requests: Sequence[int]) -> list[int | Exception]:
            await gate.wait()
            return list(requests)

        batcher = MicroBatcher(run, max_batch=1, max_queue=2, meter=NullBatchMeter())
        tasks = [asyncio.create_task(batcher.submit(number)) for number in range(2)]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(batcher.submit(2)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await batcher.submit(3)
        gate.set()
        assert await asyncio.gather(*tasks) == [0, 1, 2]

    asyncio.run(scenario())
