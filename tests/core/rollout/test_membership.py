"""Who is alive follows from what has changed of late, for as long as anything could be seen."""

from __future__ import annotations

import asyncio

import pytest

from service.core.rollout.membership import DEAD_SECONDS, Membership, Report
from tests.core.fakes import MemoryStore


class Pair:
    """Two workers on one store and one clock, which look and speak every 0.1 s."""

    def __init__(self) -> None:
        self.now = 100.0
        self.store = MemoryStore()
        self.one, self.two = (Membership(self.store, name, lambda: self.now) for name in ("one", "two"))

    async def live(self, seconds: float, *workers: Membership) -> None:
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            for worker in workers:
                worker.observe(await self.store.records())
                await worker.say(Report())


def test_who_says_nothing_any_more_is_dead_after_a_while() -> None:
    async def scenario() -> None:
        pair = Pair()
        await pair.live(3, pair.one, pair.two)
        assert set(pair.one.alive()) == {"one", "two"}
        await pair.live(DEAD_SECONDS - 2, pair.one)
        assert set(pair.one.alive()) == {"one", "two"}
        await pair.live(2.2, pair.one)
        assert set(pair.one.alive()) == {"one"}
        await pair.live(1, pair.one, pair.two)
        assert set(pair.one.alive()) == {"one", "two"}

    asyncio.run(scenario())


@pytest.mark.parametrize("outage", [4.5, 6.0, 3600.0])
def test_nobody_dies_because_the_store_was_away(outage: float) -> None:
    async def scenario() -> None:
        pair = Pair()
        await pair.live(3, pair.one, pair.two)
        pair.now += outage
        assert set(pair.one.alive()) == {"one", "two"}  # while it lasts
        await pair.live(2, pair.one)  # the other has not noticed yet that it is over
        assert set(pair.one.alive()) == {"one", "two"}
        await pair.live(DEAD_SECONDS - 1.8, pair.one)
        assert set(pair.one.alive()) == {"one"}

    asyncio.run(scenario())
