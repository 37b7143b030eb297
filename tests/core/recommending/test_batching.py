"""The micro-batcher: what arrives while a batch runs forms the next one, and every caller gets its own answer."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence

import pytest

from service.core.errors import DeadlineExceeded, Overloaded
from service.core.recommending.batching import MicroBatcher


class Doubler:
    """Doubles numbers, one batch at a time, when it is let; fails negative ones, and a batch with 999 in it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.seconds: list[float] = []
        self.left: list[int] = []
        self.refused = self.late = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def batch(self, size: int, seconds: float, left: int) -> None:
        self.seconds.append(seconds)
        self.left.append(left)

    def shed(self) -> None:
        self.refused += 1

    def expired(self, jobs: int) -> None:
        self.late += jobs

    async def run(self, jobs: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(jobs))
        await self.gate.wait()
        if 999 in jobs:
            raise RuntimeError("the whole batch")
        if 998 in jobs:
            return []
        return [ValueError(str(job)) if job < 0 else job * 2 for job in jobs]

    def batcher(self, max_batch: int = 100, max_queue: int = 100) -> MicroBatcher[int, int]:
        return MicroBatcher(
            self.run,
            max_batch=max_batch,
            max_queue=max_queue,
            meter=self,
        )


def test_a_job_alone_does_not_wait_for_company() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        assert await asyncio.wait_for(doubler.batcher().submit(4), 1) == 8
        assert doubler.batches == [[4]]
        assert len(doubler.seconds) == 1

    asyncio.run(scenario())


def test_what_arrives_meanwhile_is_one_batch_in_order() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        doubler.gate.clear()
        batcher = doubler.batcher(max_batch=3)
        tasks = [asyncio.create_task(batcher.submit(0))]
        await asyncio.sleep(0.01)
        tasks += [asyncio.create_task(batcher.submit(job)) for job in range(1, 6)]
        await asyncio.sleep(0.01)
        doubler.gate.set()
        assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10]
        assert doubler.batches == [[0], [1, 2, 3], [4, 5]]

    asyncio.run(scenario())


def test_errors_reach_their_own_callers() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        batcher = doubler.batcher()
        mixed = await asyncio.gather(*(batcher.submit(job) for job in (1, -1, 2)), return_exceptions=True)
        assert [type(result) for result in mixed] == [int, ValueError, int]
        for poison in (999, 998):
            whole = await asyncio.gather(*(batcher.submit(job) for job in (1, poison)), return_exceptions=True)
            assert [type(result) for result in whole] == [RuntimeError, RuntimeError]
        assert await batcher.submit(5) == 10

    asyncio.run(scenario())


def test_beyond_the_queue_callers_are_turned_away_at_once() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        doubler.gate.clear()
        batcher = doubler.batcher(max_queue=2)
        running = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0.01)
        waiting = [asyncio.create_task(batcher.submit(job)) for job in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await asyncio.wait_for(batcher.submit(3), 1.0)  # taken in, it would wait for the gate
        doubler.gate.set()
        assert await asyncio.gather(running, *waiting) == [0, 2, 4]
        assert (doubler.refused, doubler.left) == (1, [2, 0])

    asyncio.run(scenario())


def test_what_waits_beyond_its_deadline_is_not_begun() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        doubler.gate.clear()
        batcher = doubler.batcher(max_batch=2)
        now = time.monotonic()
        running = asyncio.create_task(batcher.submit(0, now + 1e-3))
        await asyncio.sleep(0.01)  # it has begun, and so it is finished
        deadlines = [(1, now), (2, math.inf), (3, now), (4, now), (5, now + 1e6)]
        waiting = [asyncio.create_task(batcher.submit(job, deadline)) for job, deadline in deadlines]
        gone = asyncio.create_task(batcher.submit(6, now))
        await asyncio.sleep(0)
        gone.cancel()
        doubler.gate.set()
        outcomes = await asyncio.gather(running, *waiting, return_exceptions=True)
        assert [type(o) if isinstance(o, Exception) else o for o in outcomes] == [
            0,
            DeadlineExceeded,
            4,
            DeadlineExceeded,
            DeadlineExceeded,
            10,
        ]
        await batcher.close()
        assert (doubler.batches, doubler.late) == ([[0], [2, 5]], 4)
        with pytest.raises(DeadlineExceeded):  # nobody else waits, and still it comes too late
            await batcher.submit(7, now)

    asyncio.run(scenario())


def test_a_caller_that_goes_away_disturbs_nobody() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        doubler.gate.clear()
        batcher = doubler.batcher()
        gone = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0.01)
        also_gone, stays = (asyncio.create_task(batcher.submit(job)) for job in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        also_gone.cancel()
        doubler.gate.set()
        assert await stays == 4

    asyncio.run(scenario())


def test_close_returns_when_everything_is_answered() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        batcher = doubler.batcher(max_batch=1)
        tasks = [asyncio.create_task(batcher.submit(job)) for job in range(3)]
        await asyncio.sleep(0)
        await batcher.close()
        await asyncio.sleep(0)
        assert all(task.done() for task in tasks)

    asyncio.run(scenario())


def test_a_batcher_that_is_cancelled_leaves_no_caller_waiting() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        doubler.gate.clear()
        batcher = doubler.batcher()
        caller = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        closing.cancel()  # the server's patience is over
        await asyncio.gather(closing, return_exceptions=True)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(caller, 1)

    asyncio.run(scenario())


def test_jobs_aside_give_way_and_take_no_place_from_the_others() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        doubler.gate.clear()
        batcher = doubler.batcher(max_batch=3, max_queue=8)
        tasks = [asyncio.create_task(batcher.submit(0))]
        await asyncio.sleep(0.01)
        tasks += [asyncio.create_task(batcher.submit_aside(job)) for job in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await asyncio.wait_for(batcher.submit_aside(3), 1.0)  # taken in, it would wait for the gate
        tasks += [asyncio.create_task(batcher.submit(job)) for job in range(10, 18)]
        await asyncio.sleep(0)
        doubler.gate.set()
        await asyncio.gather(*tasks)
        assert doubler.batches == [[0], [10, 11, 12], [13, 14, 15], [16, 17, 1], [2]]

    asyncio.run(scenario())


@pytest.mark.parametrize("begun", [True, False])
def test_jobs_that_wait_for_a_worker_that_is_cancelled_are_answered_too(begun: bool) -> None:
    async def scenario() -> None:
        doubler = Doubler()
        doubler.gate.clear()
        batcher = doubler.batcher(max_batch=1)
        callers = [asyncio.create_task(batcher.submit(job)) for job in range(2)]
        callers.append(asyncio.create_task(batcher.submit_aside(2)))
        await asyncio.sleep(0.01 if begun else 0)
        assert bool(doubler.batches) == begun
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        if begun:
            closing.cancel()
        else:
            batcher._worker.cancel()  # type: ignore[union-attr]
        outcomes = await asyncio.wait_for(asyncio.gather(*callers, return_exceptions=True), 1)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 3
        doubler.gate.set()
        assert await asyncio.wait_for(batcher.submit(4), 1) == 8
        await batcher.close()

    asyncio.run(scenario())


def test_a_meter_that_fails_costs_no_caller_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Doubler):
        def batch(self, size: int, seconds: float, left: int) -> None:
            raise RuntimeError("no room for a number")

    async def scenario() -> None:
        batcher = Failing().batcher(max_batch=1)
        answers = asyncio.gather(*(batcher.submit(job) for job in range(3)))
        assert await asyncio.wait_for(answers, 1) == [0, 2, 4]

    asyncio.run(scenario())
    assert "no room for a number" in caplog.text
