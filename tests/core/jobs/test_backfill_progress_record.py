"""Tests of the progress record: claims by several workers, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from service.core.events import SnapshotPut
from service.core.jobs.backfill_progress_record import (
    PAGE_USERS,
    BackfillWork,
    Progress,
    decode_progress,
    list_backfills,
)
from tests.core.fakes import FakeEngine
from tests.core.jobs.backfill_harness import Meter, backfilling, fill, replayed_items, until_ended
from tests.core.memory_store import MemoryStore

pytestmark = pytest.mark.anyio


STARTED = Progress(total_users=1000, started_at=5.0, updated_at=6.0, cursor=None, claimed=1000)


def test_decoding_returns_what_was_encoded() -> None:
    assert decode_progress(STARTED.encode()) == STARTED


@pytest.mark.parametrize("text", [None, "", "?", "[]", "{}", '{"format":2}', '{"format":1}', '{"format":1,"more":1}'])
def test_text_of_another_format_is_not_decoded(text: str | None) -> None:
    assert decode_progress(text) is None


@pytest.mark.parametrize(
    ("users", "behind", "ends"), [(1000, 10, True), (1000, 11, False), (999, 0, False), (1000, 0, True)]
)
def test_last_pass_missed_nobody_and_found_one_percent_behind(users: int, behind: int, ends: bool) -> None:
    after = STARTED.with_work(BackfillWork(users, behind), 1).after_pass()
    assert (after.ended_at == 6.0) == ends
    assert (after.pass_number, after.cursor, after.claimed) == ((1, None, 1000) if ends else (2, "", 0))


def test_fourth_pass_is_the_last() -> None:
    progress = STARTED
    for pass_number in (1, 2, 3, 4):
        assert (progress.pass_number, progress.ended_at) == (pass_number, None)
        progress = progress.with_work(BackfillWork(1000, 1000), pass_number).after_pass()
    assert progress.ended_at == 6.0


def test_work_of_an_earlier_pass_counts_in_the_totals_alone() -> None:
    after = STARTED.with_work(BackfillWork(users=64, behind=3, snapshots=3, events=50), pass_number=0)
    assert (after.users, after.behind, after.snapshots, after.events) == (0, 0, 3, 50)


async def test_workers_share_the_users_and_process_none_twice() -> None:
    store, meters = MemoryStore(), [Meter() for _ in range(4)]
    histories = await fill(store, 6 * PAGE_USERS)
    engine = FakeEngine()
    async with (
        backfilling(store, engine, meter=meters[0]),
        backfilling(store, engine, meter=meters[1]),
        backfilling(store, engine, meter=meters[2]),
        backfilling(store, engine, meter=meters[3]),
    ):
        progress = await until_ended(store)
    assert {user: replayed_items(store, user) for user in histories} == histories
    assert sum(meter.work.snapshots for meter in meters) == progress.snapshots == len(histories)
    assert sum(meter.work.snapshots > 0 for meter in meters) > 1
    assert sum(meter.work.users for meter in meters) == progress.pass_number * len(histories)


class HangingStore(MemoryStore):
    """Store whose n-th write of snapshots hangs until it is released."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left, self.hangs, self.released = at, asyncio.Event(), asyncio.Event()

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        self._left -= 1
        if self._left == 0:
            self.hangs.set()
            await self.released.wait()
        return await super().put_snapshots(puts)


@pytest.mark.parametrize("at", [1, 2, 5, 8])
async def test_worker_that_hangs_anywhere_is_replaced_and_may_continue_late(at: int) -> None:
    store = HangingStore(at)
    histories = await fill(store, 2 * PAGE_USERS)
    async with backfilling(store, FakeEngine()):
        await asyncio.wait_for(store.hangs.wait(), 10)
        async with backfilling(store, FakeEngine()):
            progress = await until_ended(store)
        assert {user: replayed_items(store, user) for user in histories} == histories
        assert progress.total_users == 2 * PAGE_USERS
        store.released.set()
    assert {user: replayed_items(store, user) for user in histories} == histories


class EndlessStore(MemoryStore):
    """Store with endlessly many users."""

    def __init__(self) -> None:
        super().__init__()
        self.pages, self.fifth_page = 0, asyncio.Event()

    async def users(self, cursor: str, limit: int) -> tuple[list[str], str]:
        await asyncio.sleep(0.001)
        self.pages += 1
        if self.pages == 5:
            self.fifth_page.set()
        return ["u"], "more"


async def test_count_of_users_can_be_stopped() -> None:
    store, meter = EndlessStore(), Meter()
    async with asyncio.timeout(10), backfilling(store, FakeEngine(), meter=meter):
        await store.fifth_page.wait()
    assert await list_backfills(store) == {}
    assert meter.progress == [None]


async def test_count_of_users_is_throttled() -> None:
    store = EndlessStore()
    async with backfilling(store, FakeEngine(), max_fraction=1e-7):  # after a page of 1 ms it pauses for three hours
        await asyncio.sleep(0.2)
    assert store.pages == 1


async def test_record_of_another_format_is_replaced() -> None:
    store = MemoryStore()
    histories = await fill(store, 5)
    store.written = {"backfill:v1": '{"something": "else"}', "backfill:v0": "not even JSON", "live": "v1"}
    async with backfilling(store, FakeEngine()):
        await until_ended(store)
    assert {user: replayed_items(store, user) for user in histories} == histories
    assert set(store.written) == {"backfill:v1", "live"}
