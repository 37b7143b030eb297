"""Micro-batcher: batches, queues, deadlines, cancellation."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence

import pytest

from service.core.errors import DeadlineExceeded, Overloaded
from service.core.recommending.micro_batcher import MicroBatcher


class Doubler:
    """Doubles numbers; fails negative ones, and batches with 998 or 999."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.seconds: list[float] = []
        self.queued: list[int] = []
        self.refused = self.late = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def batch_finished(self, size: int, seconds: float, queued: int) -> None:
        self.seconds.append(seconds)
        self.queued.append(queued)

    def request_rejected(self) -> None:
        self.refused += 1

    def requests_expired(self, count: int) -> None:
        self.late += count

    async def run(self, numbers: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(numbers))
        await self.gate.wait()
        if 999 in numbers:
            raise RuntimeError("the whole batch")
        if 998 in numbers:
            return []
        return [ValueError(str(number)) if number < 0 else number * 2 for number in numbers]

    def batcher(self, max_batch: int = 100, max_queue: int = 100) -> MicroBatcher[int, int]:
        return MicroBatcher(self.run, max_batch=max_batch, max_queue=max_queue, meter=self)


def test_single_request_runs_at_once() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        assert await asyncio.wait_for(doubler.batcher().submit(4), 1) == 8
        assert doubler.batches == [[4]]
        assert len(doubler.seconds) == 1

    asyncio.run(scenario())


def test_requests_that_arrive_during_a_batch_form_the_next_in_order() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        doubler.gate.clear()
        batcher = doubler.batcher(max_batch=3)
        tasks = [asyncio.create_task(batcher.submit(0))]
        await asyncio.sleep(0.01)
        tasks += [asyncio.create_task(batcher.submit(number)) for number in range(1, 6)]
        await asyncio.sleep(0.01)
        doubler.gate.set()
        assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10]
        assert doubler.batches == [[0], [1, 2, 3], [4, 5]]

    asyncio.run(scenario())


def test_errors_reach_their_own_callers() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        batcher = doubler.batcher()
        mixed = await asyncio.gather(*(batcher.submit(number) for number in (1, -1, 2)), return_exceptions=True)
        assert [type(result) for result in mixed] == [int, ValueError, int]
        for poison in (999, 998):
            whole = await asyncio.gather(*(batcher.submit(number) for number in (1, poison)), return_exceptions=True)
            assert [type(result) for result in whole] == [RuntimeError, RuntimeError]
        assert await batcher.submit(5) == 10

    asyncio.run(scenario())


def test_full_queue_rejects_at_once() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        doubler.gate.clear()
        batcher = doubler.batcher(max_queue=2)
        running = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0.01)
        waiting = [asyncio.create_task(batcher.submit(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await asyncio.wait_for(batcher.submit(3), 1.0)  # a queued request would wait for the gate
        doubler.gate.set()
        assert await asyncio.gather(running, *waiting) == [0, 2, 4]
        assert (doubler.refused, doubler.queued) == (1, [2, 0])

    asyncio.run(scenario())


def test_request_queued_past_its_deadline_is_not_started() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        doubler.gate.clear()
        batcher = doubler.batcher(max_batch=2)
        now = time.monotonic()
        running = asyncio.create_task(batcher.submit(0, now + 1e-3))
        await asyncio.sleep(0.01)  # a request that has started is finished
        deadlines = [(1, now), (2, math.inf), (3, now), (4, now), (5, now + 1e6)]
        waiting = [asyncio.create_task(batcher.submit(number, deadline)) for number, deadline in deadlines]
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
        with pytest.raises(DeadlineExceeded):  # too late even with an empty queue
            await batcher.submit(7, now)

    asyncio.run(scenario())


def test_cancelled_caller_does_not_affect_the_others() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        doubler.gate.clear()
        batcher = doubler.batcher()
        gone = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0.01)
        also_gone, stays = (asyncio.create_task(batcher.submit(number)) for number in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        also_gone.cancel()
        doubler.gate.set()
        assert await stays == 4

    asyncio.run(scenario())


def test_close_waits_for_every_result() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        batcher = doubler.batcher(max_batch=1)
        tasks = [asyncio.create_task(batcher.submit(number)) for number in range(3)]
        await asyncio.sleep(0)
        await batcher.close()
        await asyncio.sleep(0)
        assert all(task.done() for task in tasks)

    asyncio.run(scenario())


def test_cancelled_worker_cancels_its_callers() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        doubler.gate.clear()
        batcher = doubler.batcher()
        caller = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        closing.cancel()  # the server's shutdown timeout has passed
        await asyncio.gather(closing, return_exceptions=True)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(caller, 1)

    asyncio.run(scenario())


def test_low_priority_requests_run_last_and_have_their_own_queue() -> None:
    async def scenario() -> None:
        doubler = Doubler()
        doubler.gate.clear()
        batcher = doubler.batcher(max_batch=3, max_queue=8)
        tasks = [asyncio.create_task(batcher.submit(0))]
        await asyncio.sleep(0.01)
        tasks += [asyncio.create_task(batcher.submit(number, low_priority=True)) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await asyncio.wait_for(
                batcher.submit(3, low_priority=True), 1.0
            )  # a queued request would wait for the gate
        tasks += [asyncio.create_task(batcher.submit(number)) for number in range(10, 18)]
        await asyncio.sleep(0)
        doubler.gate.set()
        await asyncio.gather(*tasks)
        assert doubler.batches == [[0], [10, 11, 12], [13, 14, 15], [16, 17, 1], [2]]

    asyncio.run(scenario())


@pytest.mark.parametrize("started", [True, False])
def test_queued_requests_are_cancelled_with_the_batches(started: bool) -> None:
    async def scenario() -> None:
        doubler = Doubler()
        doubler.gate.clear()
        batcher = doubler.batcher(max_batch=1)
        callers = [asyncio.create_task(batcher.submit(number)) for number in range(2)]
        callers.append(asyncio.create_task(batcher.submit(2, low_priority=True)))
        await asyncio.sleep(0.01 if started else 0)
        assert bool(doubler.batches) == started
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        if started:
            closing.cancel()
        else:
            batcher._batches.cancel()  # type: ignore[union-attr]
        outcomes = await asyncio.wait_for(asyncio.gather(*callers, return_exceptions=True), 1)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 3
        doubler.gate.set()
        assert await asyncio.wait_for(batcher.submit(4), 1) == 8
        await batcher.close()

    asyncio.run(scenario())


def test_failing_meter_does_not_fail_the_requests(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Doubler):
        def batch_finished(self, size: int, seconds: float, queued: int) -> None:
            raise RuntimeError("the disk is full")

    async def scenario() -> None:
        batcher = Failing().batcher(max_batch=1)
        answers = asyncio.gather(*(batcher.submit(number) for number in range(3)))
        assert await asyncio.wait_for(answers, 1) == [0, 2, 4]

    asyncio.run(scenario())
    assert "the disk is full" in caplog.text
