from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, NewEvent
from service.core.jobs.maintenance import MOST_EVENTS, PAGE_USERS, Maintenance
from tests.core.fakes import MemoryStore

EVENTS_KEPT = MOST_EVENTS // PAGE_USERS  # so few that a page is one exchange


class Tidied(MemoryStore):
    """Fails as it is told, and keeps account of what is asked of it."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__()
        self.failures = list(failures)
        self.finished = asyncio.Event()
        self.expired: list[str] = []
        self.sizes: list[int] = []
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
        self.sizes.append(len(user_ids))
        if len(user_ids) < 100:
            self.rounds.release()
        return len(user_ids)


def failures() -> list[Exception]:
    return [StoreUnavailable("down"), ValueError("a fault"), StoreUnavailable("down")]


def maintenance(store: Tidied, *, expires: bool) -> Maintenance:
    return Maintenance(
        store, expires=expires, events_kept=EVENTS_KEPT, merges_pause=0.001, page_pause=0.0, round_pause=0.001
    )


def test_neither_an_outage_nor_a_fault_ends_it() -> None:
    async def scenario() -> None:
        store = Tidied(*failures())
        tidy = maintenance(store, expires=False)
        tidy.start()
        await asyncio.wait_for(store.finished.wait(), 10)
        await tidy.close()
        assert store.expired == []

    asyncio.run(scenario())


def test_every_user_is_visited_in_every_round() -> None:
    async def scenario() -> None:
        store = Tidied()
        users = [f"u{n:03}" for n in range(250)]
        await store.append_and_read(
            [AppendAndRead(user, None, (NewEvent.create("1", None, None, 0.0),)) for user in users]
        )
        store.failures = [StoreUnavailable("down")] * 3
        tidy = maintenance(store, expires=True)
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
        await store.append_and_read(
            [AppendAndRead(user, None, (NewEvent.create("1", None, None, 0.0),)) for user in users]
        )
        store.failures = [ValueError("a fault")]
        store.finished.set()
        tidy = Maintenance(
            store, expires=True, events_kept=EVENTS_KEPT, merges_pause=0.001, page_pause=0.0, round_pause=60.0
        )
        tidy.start()
        await asyncio.wait_for(store.rounds.acquire(), 10)
        await tidy.close()
        assert store.expired[-50:] == users[100:]

    asyncio.run(scenario())


@pytest.mark.parametrize(("events_kept", "users_at_once"), [(1000, 4), (100_000, 1)])
def test_an_exchange_removes_few_events_or_one_users(events_kept: int, users_at_once: int) -> None:
    async def scenario() -> None:
        store = Tidied()
        users = [f"u{n:02}" for n in range(10)]
        await store.append_and_read(
            [AppendAndRead(user, None, (NewEvent.create("1", None, None, 0.0),)) for user in users]
        )
        tidy = Maintenance(store, expires=True, events_kept=events_kept, share=1.0, round_pause=60.0)
        tidy.start()
        while len(store.expired) < len(users):
            await asyncio.wait_for(store.rounds.acquire(), 10)
        await tidy.close()
        assert store.expired == users
        assert max(store.sizes) == users_at_once

    asyncio.run(scenario())


def test_it_rests_by_what_an_exchange_took() -> None:
    class Slow(Tidied):
        async def expire(self, user_ids: Sequence[str]) -> int:
            await asyncio.sleep(0.001)
            return await super().expire(user_ids)

    async def scenario() -> None:
        store = Slow()
        await store.append_and_read(
            [AppendAndRead(user, None, (NewEvent.create("1", None, None, 0.0),)) for user in ("u", "v")]
        )
        tidy = Maintenance(store, expires=True, events_kept=100_000, share=1e-7)  # for three hours
        tidy.start()
        await asyncio.wait_for(store.rounds.acquire(), 10)
        await asyncio.sleep(0.05)
        await tidy.close()
        assert store.expired == ["u"]

    asyncio.run(scenario())


def test_closed_before_it_began() -> None:
    asyncio.run(Maintenance(MemoryStore(), expires=True, events_kept=1000).close())
