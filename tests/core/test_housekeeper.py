from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.core.errors import StoreUnavailable
from service.core.events import NewEvent, Visit
from service.core.housekeeper import Housekeeper
from tests.core.fakes import MemoryStore


class Tidied(MemoryStore):
    """Fails as it is told, and keeps account of what is asked of it."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__()
        self.failures = list(failures)
        self.finished = asyncio.Event()
        self.expired: list[str] = []
        self.rounds = asyncio.Semaphore(0)

    async def finish_merges(self) -> int:
        if self.failures:
            raise self.failures.pop(0)
        self.finished.set()
        return 1

    async def expire(self, user_ids: Sequence[str]) -> int:
        if self.failures:
            raise self.failures.pop(0)
        self.expired += user_ids
        if len(user_ids) < 100:
            self.rounds.release()
        return len(user_ids)


def failures() -> list[Exception]:
    return [StoreUnavailable("down"), ValueError("a fault"), StoreUnavailable("down")]


def housekeeper(store: Tidied, *, expires: bool) -> Housekeeper:
    return Housekeeper(store, expires=expires, merges_pause=0.001, page_pause=0.0, round_pause=0.001)


def test_neither_an_outage_nor_a_fault_ends_it() -> None:
    async def scenario() -> None:
        store = Tidied(*failures())
        tidy = housekeeper(store, expires=False)
        tidy.start()
        await asyncio.wait_for(store.finished.wait(), 10)
        await tidy.close()
        assert store.expired == []

    asyncio.run(scenario())


def test_every_user_is_visited_in_every_round() -> None:
    async def scenario() -> None:
        store = Tidied()
        users = [f"u{n:03}" for n in range(250)]
        await store.visit([Visit(user, None, (NewEvent.create("1", None, None, 0.0),)) for user in users])
        store.failures = [StoreUnavailable("down")] * 3
        tidy = housekeeper(store, expires=True)
        tidy.start()
        for _ in range(2):
            await asyncio.wait_for(store.rounds.acquire(), 10)
        await tidy.close()
        assert store.expired[:500] == users + users

    asyncio.run(scenario())


def test_a_page_with_a_fault_does_not_keep_the_others_from_being_visited() -> None:
    async def scenario() -> None:
        store = Tidied()
        users = [f"u{n:03}" for n in range(150)]
        await store.visit([Visit(user, None, (NewEvent.create("1", None, None, 0.0),)) for user in users])
        store.failures = [ValueError("a fault")]
        store.finished.set()
        tidy = Housekeeper(store, expires=True, merges_pause=0.001, page_pause=0.0, round_pause=60.0)
        tidy.start()
        await asyncio.wait_for(store.rounds.acquire(), 10)
        await tidy.close()
        assert store.expired[-50:] == users[100:]

    asyncio.run(scenario())


def test_closed_before_it_began() -> None:
    asyncio.run(Housekeeper(MemoryStore(), expires=True).close())
