from __future__ import annotations

import asyncio

from service.core.errors import StoreUnavailable
from service.core.housekeeper import Housekeeper
from tests.core.fakes import MemoryStore


class Merging(MemoryStore):
    """Fails as it is told, then finishes."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__()
        self.failures = list(failures)
        self.finished = asyncio.Event()

    async def finish_merges(self) -> int:
        if self.failures:
            raise self.failures.pop(0)
        self.finished.set()
        return 1


def test_neither_an_outage_nor_a_fault_ends_it() -> None:
    async def scenario() -> None:
        store = Merging(StoreUnavailable("down"), ValueError("a fault"), StoreUnavailable("down"))
        housekeeper = Housekeeper(store, pause=0.001)
        housekeeper.start()
        await asyncio.wait_for(store.finished.wait(), 10)
        await housekeeper.close()

    asyncio.run(scenario())


def test_closed_before_it_began() -> None:
    asyncio.run(Housekeeper(MemoryStore()).close())
