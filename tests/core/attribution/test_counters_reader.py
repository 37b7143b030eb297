"""Reading of the counters: once for all that ask."""

from __future__ import annotations

import asyncio

import pytest

from service.core.attribution.counters_reader import VALID_SECONDS, CountersReader
from service.core.errors import StoreUnavailable

pytestmark = pytest.mark.anyio


class CountingStore:
    def __init__(self) -> None:
        self.reads = 0
        self.down = False

    async def attribution_counters(self) -> list[dict[str, int]]:
        self.reads += 1
        await asyncio.sleep(0)
        if self.down:
            raise StoreUnavailable("the event log does not answer")
        return [{"p:0:v:1:c": self.reads}]


async def test_concurrent_and_early_calls_share_a_read() -> None:
    store, now = CountingStore(), 0.0
    reader = CountersReader(store, lambda: now)
    first, second = await asyncio.gather(reader.read(), reader.read())
    assert first == second == await reader.read()
    assert store.reads == 1
    now = VALID_SECONDS + 0.1
    [shard] = await reader.read()
    assert shard.positions[0, "v", 1].clicks == 2


async def test_failed_read_is_not_kept() -> None:
    store = CountingStore()
    reader = CountersReader(store, lambda: 0.0)
    store.down = True
    with pytest.raises(StoreUnavailable):
        await reader.read()
    store.down = False
    assert len(await reader.read()) == 1
