"""Low-priority requests of a micro-batcher beside normal ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain

from service.core.recommending.micro_batcher import QUIET_SECONDS, MicroBatcher
from tests.core.fakes import NullBatchMeter

SHARE, MAX_BATCH = 4, 16


class Batches:
    """Batches as they ran; the clock advances whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[list[int]] = []
        self.gate = asyncio.Event()
        self.batcher: MicroBatcher[int, int] = MicroBatcher(
            self.run,
            max_batch=MAX_BATCH,
            max_queue=1000,
            meter=NullBatchMeter(),
            clock=self.clock,
            low_priority_share=SHARE,
            cost=lambda number: 1 if number < 100 else 3,
        )

    def clock(self) -> float:
        self.now += 0.001
        return self.now

    async def run(self, numbers: Sequence[int]) -> list[int | Exception]:
        self.ran.append(list(numbers))
        await self.gate.wait()
        return list(numbers)

    def submit(self, *numbers: int, low: bool = False) -> list[asyncio.Task[int]]:
        return [asyncio.create_task(self.batcher.submit(number, low_priority=low)) for number in numbers]


async def iterations() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_low_priority_requests_fill_batches_while_no_normal_one_arrives() -> None:
    async def scenario() -> None:
        batches = Batches()
        batches.gate.set()
        await asyncio.gather(*batches.submit(*range(2 * MAX_BATCH), low=True))
        assert list(map(len, batches.ran)) == [MAX_BATCH, MAX_BATCH]

    asyncio.run(scenario())


def test_batch_beside_normal_requests_takes_the_share_by_cost() -> None:
    async def scenario() -> None:
        batches = Batches()
        first = batches.submit(1)
        await iterations()
        low = batches.submit(50, 101, 102, 103, low=True)
        normal = batches.submit(2, 3)
        await iterations()
        batches.gate.set()
        await asyncio.gather(*first, *normal)
        assert batches.ran[1] == [2, 3, 50, 101]
        batches.now = 10.0
        await asyncio.gather(*low)

    asyncio.run(scenario())


def test_normal_request_does_not_wait_for_the_pause_of_the_others() -> None:
    async def scenario() -> None:
        batches = Batches()
        batches.gate.set()
        await asyncio.gather(*batches.submit(1))
        low = batches.submit(*range(50, 60), low=True)
        await iterations()
        assert batches.ran[1] == [50, 51, 52, 53]
        batches.batcher._low_priority_from = batches.now + 3600
        await asyncio.wait_for(asyncio.gather(*batches.submit(2)), 10)
        assert batches.ran[-1] == [2]
        batches.now += QUIET_SECONDS + 1
        await asyncio.wait_for(asyncio.gather(*batches.submit(3)), 10)
        batches.now += QUIET_SECONDS + 3600
        await asyncio.gather(*batches.submit(4), *low)
        assert sorted(chain.from_iterable(batches.ran)) == [1, 2, 3, 4, *range(50, 60)]

    asyncio.run(scenario())
