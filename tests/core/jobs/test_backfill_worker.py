"""Tests of the backfill worker: the snapshots that it writes."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from service.core.engine_requests import EngineRequest, EngineResult
from service.core.errors import StateDamagedError
from service.core.events import AppendAndRead, LogView, SnapshotPut
from service.core.jobs.backfill_progress_record import PAGE_USERS
from service.core.recommending.log_replay.snapshots import Snapshot, decode_snapshot, encode_snapshot
from tests.core.fakes import FakeEngine
from tests.core.jobs.backfill_harness import Meter, backfilling, event, fill, replayed_items, until_ended
from tests.core.memory_store import MemoryStore

pytestmark = pytest.mark.anyio


async def test_every_user_gets_the_snapshot_of_the_whole_log() -> None:
    store, meter = MemoryStore(), Meter()
    histories = await fill(store, 3 * PAGE_USERS + 5)
    async with backfilling(store, FakeEngine(), meter=meter):
        progress = await until_ended(store)
    assert {user: replayed_items(store, user) for user in histories} == histories
    users, events = len(histories), sum(map(len, histories.values()))
    assert (progress.total_users, progress.snapshots, progress.events, progress.fraction_done) == (
        users,
        users,
        events,
        1.0,
    )
    assert (meter.work.snapshots, meter.work.events) == (len(histories), events)
    assert meter.progress[-1] is None
    assert [fraction for fraction in meter.progress if fraction is not None] != []
    for user, items in histories.items():
        assert decode_snapshot(store.snapshot(user, "v1") or b"", user, "v1").base == 0
        [view] = await store.append_and_read([AppendAndRead(user, "v1")])
        assert isinstance(view, LogView)
        assert (view.pending, view.sequence) == ((), len(items))


async def test_snapshot_that_the_next_event_renews_is_left_alone() -> None:
    store, meter = MemoryStore(), Meter()
    await fill(store, 1, events=4)
    blob = encode_snapshot(Snapshot(3, 0, b'["1", "2", "3"]'), "u000", "v1")
    await store.put_snapshots([SnapshotPut("u000", str(store.logs["u000"].generation), "v1", 3, blob)])
    async with backfilling(store, FakeEngine(), meter=meter):
        await until_ended(store)
    assert store.snapshot("u000", "v1") == blob
    assert (meter.work.behind, meter.work.snapshots, meter.work.events) == (0, 0, 0)


async def test_current_snapshot_is_skipped_and_outdated_one_is_continued() -> None:
    store, meter = MemoryStore(), Meter()
    await fill(store, 3, events=4)
    states = {"u000": (4, ["1", "2", "3", "4"]), "u001": (2, ["5", "6"])}  # other items than the log holds
    for user, (applied, items) in states.items():
        blob = encode_snapshot(Snapshot(applied, 0, json.dumps(items).encode()), user, "v1")
        assert await store.put_snapshots(
            [SnapshotPut(user, str(store.logs[user].generation), "v1", applied, blob)]
        ) == [True]
    async with backfilling(store, FakeEngine(), meter=meter):
        await until_ended(store)
    log = [event.item_id for event in store.logs["u001"].events]
    assert replayed_items(store, "u000") == ["1", "2", "3", "4"]
    assert replayed_items(store, "u001") == ["5", "6", *log[2:]]
    assert meter.work.snapshots == 2
    assert meter.work.events == len(log) - 2 + store.logs["u002"].sequence


@pytest.mark.parametrize("state", [b"no snapshot", "no state"])
async def test_damaged_outdated_snapshot_is_computed_from_all_events(state: bytes | str) -> None:
    store, meter = MemoryStore(), Meter()
    [(user, items)] = (await fill(store, 1, events=4)).items()
    blob = state if isinstance(state, bytes) else encode_snapshot(Snapshot(2, 0, state.encode()), user, "v1")
    store.logs[user].snapshots["v1"] = (2, blob)
    async with backfilling(store, FakeEngine(), meter=meter):
        await until_ended(store)
    assert replayed_items(store, user) == items
    assert meter.counts["snapshots_damaged"] == 1


class InterruptedStore(MemoryStore):
    """Store that runs `meanwhile` once, before a snapshot is written."""

    def __init__(self, meanwhile: Callable[[MemoryStore], Awaitable[Any]]) -> None:
        super().__init__()
        self._meanwhile: Callable[[MemoryStore], Awaitable[Any]] | None = meanwhile

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            await meanwhile(self)
        return await super().put_snapshots(puts)


async def test_edit_meanwhile_refuses_the_snapshot_and_the_next_pass_computes_it() -> None:
    store = InterruptedStore(lambda log: log.delete_event("u001", "e1"))
    histories = await fill(store, 3)
    async with backfilling(store, FakeEngine()):
        progress = await until_ended(store)
    del histories["u001"][1]
    assert {user: replayed_items(store, user) for user in histories} == histories
    assert progress.pass_number > 1


async def test_user_deleted_meanwhile_stays_deleted() -> None:
    store = InterruptedStore(lambda log: log.delete_user("u001"))
    histories = await fill(store, 3)
    async with backfilling(store, FakeEngine()):
        await until_ended(store)
    assert set(store.logs) == set(histories) - {"u001"}
    assert replayed_items(store, "u002") == histories["u002"]


async def test_longer_snapshot_of_a_request_stays() -> None:
    async def answer(log: MemoryStore) -> None:
        [view] = await log.append_and_read([AppendAndRead("u001", None, (event("9"),))])
        assert isinstance(view, LogView)
        blob = encode_snapshot(Snapshot(view.sequence, 0, b'["9"]'), "u001", "v1")
        await MemoryStore.put_snapshots(log, [SnapshotPut("u001", view.generation, "v1", view.sequence, blob)])

    store = InterruptedStore(answer)
    await fill(store, 3)
    async with backfilling(store, FakeEngine()):
        await until_ended(store)
    assert replayed_items(store, "u001") == ["9"]


async def test_running_replay_has_ended_when_close_returns() -> None:
    class Slow(FakeEngine):
        begun, ended = threading.Event(), threading.Event()

        def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
            self.begun.set()
            time.sleep(0.1)
            self.ended.set()
            return super().run(requests)

    store, engine = MemoryStore(), Slow()
    await fill(store, 3)
    async with backfilling(store, engine):
        assert await asyncio.to_thread(engine.begun.wait, 10)
    assert engine.ended.is_set()
    assert store.puts == []
