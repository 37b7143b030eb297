"""Tests of the periodic maintenance of the event log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, NewEvent
from service.core.jobs.maintenance import MAX_EVENTS_PER_CALL, PAGE_USERS, Maintenance
from tests.core.memory_store import MemoryStore

EVENTS_KEPT = MAX_EVENTS_PER_CALL // PAGE_USERS  # so few that one call removes a page


class RecordingStore(MemoryStore):
    """Store that fails on request, and records the maintenance calls."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__()
        self.failures = list(failures)
        self.finished = asyncio.Event()
        self.expired: list[str] = []
        self.call_sizes: list[int] = []
        self.passes = asyncio.Semaphore(0)

    async def finish_merges(self) -> int:
        if self.failures:
            raise self.failures.pop(0)
        self.finished.set()
        return 1

    async def expire(self, user_ids: Sequence[str]) -> int:
        if self.failures:
            raise self.failures.pop(0)
        self.expired += user_ids
        self.call_sizes.append(len(user_ids))
        if len(user_ids) < 100:
            self.passes.release()
        return len(user_ids)


def failures() -> list[Exception]:
    return [StoreUnavailable("down"), ValueError("a fault"), StoreUnavailable("down")]


def maintenance(store: RecordingStore, *, remove_expired: bool, pass_interval_seconds: float = 0.001) -> Maintenance:
    return Maintenance(
        store,
        remove_expired=remove_expired,
        events_kept=EVENTS_KEPT,
        merge_interval_seconds=0.001,
        page_interval_seconds=0.0,
        pass_interval_seconds=pass_interval_seconds,
    )


async def add_users(store: RecordingStore, users: Sequence[str]) -> None:
    await store.append_and_read(
        [AppendAndRead(user, None, (NewEvent.create("1", None, None, 0.0),)) for user in users]
    )


def test_nearly_full_store_is_logged_once_until_it_is_not(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        store = RecordingStore()
        job = maintenance(store, remove_expired=False)
        for store.used in (0.5, 0.85, 0.9, 0.7, 0.95, None):
            await job._check_memory()
        assert caplog.text.count("event log nearly full") == 2

    asyncio.run(scenario())


def test_job_survives_outages_and_exceptions() -> None:
    async def scenario() -> None:
        store = RecordingStore(*failures())
        job = maintenance(store, remove_expired=False)
        job.start()
        await asyncio.wait_for(store.finished.wait(), 10)
        await job.close()
        assert store.expired == []

    asyncio.run(scenario())


def test_every_pass_covers_all_users_despite_an_outage() -> None:
    async def scenario() -> None:
        store = RecordingStore()
        users = [f"u{n:03}" for n in range(250)]
        await add_users(store, users)
        store.failures = [StoreUnavailable("down")] * 3
        job = maintenance(store, remove_expired=True)
        job.start()
        for _ in range(2):
            await asyncio.wait_for(store.passes.acquire(), 10)
        await job.close()
        assert store.expired[:500] == users + users

    asyncio.run(scenario())


def test_page_with_an_exception_is_skipped() -> None:
    async def scenario() -> None:
        store = RecordingStore()
        users = [f"u{n:03}" for n in range(150)]
        await add_users(store, users)
        store.failures = [ValueError("a fault")]
        store.finished.set()
        job = maintenance(store, remove_expired=True, pass_interval_seconds=60.0)
        job.start()
        await asyncio.wait_for(store.passes.acquire(), 10)
        await job.close()
        assert store.expired[-50:] == users[100:]

    asyncio.run(scenario())


@pytest.mark.parametrize(("events_kept", "users_at_once"), [(1000, 4), (100_000, 1)])
def test_one_call_is_bounded_by_events_or_one_user(events_kept: int, users_at_once: int) -> None:
    async def scenario() -> None:
        store = RecordingStore()
        users = [f"u{n:02}" for n in range(10)]
        await add_users(store, users)
        job = Maintenance(
            store, remove_expired=True, events_kept=events_kept, max_fraction=1.0, pass_interval_seconds=60.0
        )
        job.start()
        while len(store.expired) < len(users):
            await asyncio.wait_for(store.passes.acquire(), 10)
        await job.close()
        assert store.expired == users
        assert max(store.call_sizes) == users_at_once

    asyncio.run(scenario())


def test_pause_is_proportional_to_the_time_of_a_call() -> None:
    class Slow(RecordingStore):
        async def expire(self, user_ids: Sequence[str]) -> int:
            await asyncio.sleep(0.001)
            return await super().expire(user_ids)

    async def scenario() -> None:
        store = Slow()
        await add_users(store, ("u", "v"))
        # After a call of 1 ms the job pauses for three hours.
        job = Maintenance(store, remove_expired=True, events_kept=100_000, max_fraction=1e-7)
        job.start()
        await asyncio.wait_for(store.passes.acquire(), 10)
        await asyncio.sleep(0.05)
        await job.close()
        assert store.expired == ["u"]

    asyncio.run(scenario())


def test_close_before_start_does_nothing() -> None:
    asyncio.run(Maintenance(MemoryStore(), remove_expired=True, events_kept=1000).close())
