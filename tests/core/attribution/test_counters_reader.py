"""Reading of the counters: once for all that ask."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from service.core.attribution.counters_reader import VALID_SECONDS, CountersReader
from service.core.attribution.credits import USER_SHARDS, CounterPage, Counts
from service.core.errors import StoreUnavailable

pytestmark = pytest.mark.anyio


class CountingStore:
    def __init__(self) -> None:
        self.reads = 0
        self.down = False

    async def attribution_counters(self, pages: Sequence[CounterPage]) -> list[tuple[dict[str, int], str]]:
        self.reads += pages[0] == CounterPage(0)
        await asyncio.sleep(0)
        if self.down:
            raise StoreUnavailable("the event log does not answer")
        assert len(pages) <= 8
        return [({f"p:0:v:{len(page.cursor) + 1}:c": self.reads}, "x" * self._next(page)) for page in pages]

    def _next(self, page: CounterPage) -> int:
        """Shard n has n pages and one."""
        return len(page.cursor) + 1 if len(page.cursor) < page.shard else 0


async def test_concurrent_and_early_calls_share_a_read() -> None:
    store, now = CountingStore(), 0.0
    reader = CountersReader(store, lambda: now)
    first, second = await asyncio.gather(reader.read(), reader.read())
    assert first == second == await reader.read()
    assert store.reads == 1
    now = VALID_SECONDS + 0.1
    shards = await reader.read()
    assert store.reads == 2
    for number, shard in enumerate(shards):
        assert shard.positions == {(0, "v", position): Counts(0, 2) for position in range(1, number + 2)}


async def test_reads_take_a_tenth_of_the_time_at_most() -> None:
    store, now = CountingStore(), 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0  # so that a read takes as long
        return now

    reader = CountersReader(store, clock)
    await reader.read()
    until = now + 7
    while now < until:
        await reader.read()
    assert store.reads == 1
    now += 10
    await reader.read()
    assert store.reads == 2


async def test_failed_read_is_not_kept() -> None:
    store = CountingStore()
    reader = CountersReader(store, lambda: 0.0)
    store.down = True
    with pytest.raises(StoreUnavailable):
        await reader.read()
    store.down = False
    assert len(await reader.read()) == USER_SHARDS
