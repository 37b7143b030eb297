"""The rebuild of memos over a store and engines in plain Python: what it writes, who does it, and when it ends."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.core.engine_requests import EngineRequest, EngineResult, StateDamagedError
from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, LogView, NewEvent, SnapshotPut
from service.core.jobs.backfill import BackfillJob
from service.core.jobs.backfill_progress_record import PAGE, BackfillWork, Progress, list_backfills
from service.core.ports import Engine
from service.core.recommending.snapshots import Snapshot, decode_snapshot, encode_snapshot
from tests.core.fakes import CATALOGUE, CountingMeter, FakeEngine, MemoryStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Meter(CountingMeter):
    def __init__(self) -> None:
        super().__init__()
        self.work = BackfillWork()
        self.shares: list[float | None] = []

    def backfilled(self, work: BackfillWork) -> None:
        self.work += work

    def backfill_progress(self, share: float | None) -> None:
        self.shares.append(share)


def event(item: str, event_id: str | None = None) -> NewEvent:
    return NewEvent.create(item, None, event_id, 1.0)


async def fill(store: MemoryStore, users: int, events: int = 3) -> dict[str, list[str]]:
    """Users with as many events and a few more each; their items."""
    histories = {
        f"u{user:03}": [CATALOGUE[(7 * user + n) % len(CATALOGUE)] for n in range(events + user % 4)]
        for user in range(users)
    }
    for user, items in histories.items():
        await store.append_and_read(
            [AppendAndRead(user, None, tuple(event(item, f"e{n}") for n, item in enumerate(items)))]
        )
    return histories


def result(store: MemoryStore, user: str, version: str = "v1") -> list[str]:
    """The items that the user's memo says it has folded."""
    blob = store.snapshot(user, version)
    assert blob is not None, user
    snapshot = decode_snapshot(blob, user, version)
    assert snapshot.applied == store.logs[user].snapshots[version][0] == store.logs[user].sequence
    items: list[str] = json.loads(snapshot.state)
    return items


@asynccontextmanager
async def warming(
    store: MemoryStore,
    *engines: Engine,
    meter: Meter | None = None,
    served: Callable[[], Sequence[Engine]] | None = None,
    share: float = 1.0,
) -> AsyncIterator[BackfillJob]:
    backfill = BackfillJob(store, served or (lambda: engines), meter or Meter(), share=share, look=0.01, patience=0.2)
    backfill.start()
    try:
        yield backfill
    finally:
        await backfill.close()


async def ended(store: MemoryStore, version: str = "v1") -> Progress:
    async with asyncio.timeout(10):
        while True:
            found = (await list_backfills(store)).get(version) if not store.down else None
            if found is not None and found.ended_at is not None:
                return found
            await asyncio.sleep(0.005)


async def test_every_memo_is_what_the_next_reader_would_have_folded() -> None:
    store, meter = MemoryStore(), Meter()
    histories = await fill(store, 3 * PAGE + 5)
    async with warming(store, FakeEngine(), meter=meter):
        progress = await ended(store)
    assert {user: result(store, user) for user in histories} == histories
    users, events = len(histories), sum(map(len, histories.values()))
    assert (progress.total_users, progress.snapshots, progress.events, progress.fraction_done) == (
        users,
        users,
        events,
        1.0,
    )
    assert (meter.work.snapshots, meter.work.events) == (len(histories), events)
    assert meter.shares[-1] is None
    assert [share for share in meter.shares if share is not None] != []
    for user, items in histories.items():
        assert decode_snapshot(store.snapshot(user, "v1") or b"", user, "v1").base == 0
        [view] = await store.append_and_read([AppendAndRead(user, "v1")])
        assert isinstance(view, LogView)
        assert (view.pending, view.sequence) == ((), len(items))


async def test_a_memo_that_its_users_next_event_will_renew_is_left_alone() -> None:
    store, meter = MemoryStore(), Meter()
    await fill(store, 1, events=4)
    blob = encode_snapshot(Snapshot(3, 0, b'["1", "2", "3"]'), "u000", "v1")
    await store.put_snapshots([SnapshotPut("u000", str(store.logs["u000"].generation), "v1", 3, blob)])
    async with warming(store, FakeEngine(), meter=meter):
        await ended(store)
    assert store.snapshot("u000", "v1") == blob
    assert (meter.work.behind, meter.work.snapshots, meter.work.events) == (0, 0, 0)


async def test_each_model_that_is_served_has_its_own() -> None:
    store = MemoryStore()
    histories = await fill(store, 10)
    async with warming(store, FakeEngine("v1"), FakeEngine("v2")):
        await ended(store, "v1")
        await ended(store, "v2")
    for user, items in histories.items():
        assert result(store, user, "v1") == result(store, user, "v2") == items


async def test_who_has_a_current_memo_is_passed_over_and_one_that_is_behind_is_continued() -> None:
    store, meter = MemoryStore(), Meter()
    await fill(store, 3, events=4)
    states = {"u000": (4, ["1", "2", "3", "4"]), "u001": (2, ["5", "6"])}  # told apart from what the log holds
    for user, (applied, items) in states.items():
        blob = encode_snapshot(Snapshot(applied, 0, json.dumps(items).encode()), user, "v1")
        assert await store.put_snapshots(
            [SnapshotPut(user, str(store.logs[user].generation), "v1", applied, blob)]
        ) == [True]
    async with warming(store, FakeEngine(), meter=meter):
        await ended(store)
    log = [event.item_id for event in store.logs["u001"].events]
    assert result(store, "u000") == ["1", "2", "3", "4"]
    assert result(store, "u001") == ["5", "6", *log[2:]]
    assert meter.work.snapshots == 2
    assert meter.work.events == len(log) - 2 + store.logs["u002"].sequence


@pytest.mark.parametrize("state", [b"no memo at all", "a state that is none"])
async def test_a_damaged_memo_that_is_behind_is_folded_anew(state: bytes | str) -> None:
    store, meter = MemoryStore(), Meter()
    [(user, items)] = (await fill(store, 1, events=4)).items()
    blob = state if isinstance(state, bytes) else encode_snapshot(Snapshot(2, 0, state.encode()), user, "v1")
    store.logs[user].snapshots["v1"] = (2, blob)
    async with warming(store, FakeEngine(), meter=meter):
        await ended(store)
    assert result(store, user) == items
    assert meter.counts["snapshots_damaged"] == 1


class Interrupted(MemoryStore):
    """Does something between the reading of a log and the storing of its memo, once."""

    def __init__(self, meanwhile: Callable[[MemoryStore], Awaitable[Any]]) -> None:
        super().__init__()
        self._meanwhile: Callable[[MemoryStore], Awaitable[Any]] | None = meanwhile

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            await meanwhile(self)
        return await super().put_snapshots(puts)


async def test_an_edit_meanwhile_refuses_the_memo_and_the_next_walk_folds_what_is_left() -> None:
    store = Interrupted(lambda log: log.delete_event("u001", "e1"))
    histories = await fill(store, 3)
    async with warming(store, FakeEngine()):
        progress = await ended(store)
    del histories["u001"][1]
    assert {user: result(store, user) for user in histories} == histories
    assert progress.pass_number > 1


async def test_a_user_deleted_meanwhile_does_not_come_back() -> None:
    store = Interrupted(lambda log: log.delete_user("u001"))
    histories = await fill(store, 3)
    async with warming(store, FakeEngine()):
        await ended(store)
    assert set(store.logs) == set(histories) - {"u001"}
    assert result(store, "u002") == histories["u002"]


async def test_a_longer_memo_of_a_request_stays() -> None:
    async def answer(log: MemoryStore) -> None:
        [view] = await log.append_and_read([AppendAndRead("u001", None, (event("9"),))])
        assert isinstance(view, LogView)
        blob = encode_snapshot(Snapshot(view.sequence, 0, b'["9"]'), "u001", "v1")
        await MemoryStore.put_snapshots(log, [SnapshotPut("u001", view.generation, "v1", view.sequence, blob)])

    store = Interrupted(answer)
    await fill(store, 3)
    async with warming(store, FakeEngine()):
        await ended(store)
    assert result(store, "u001") == ["9"]


async def test_several_workers_share_the_work() -> None:
    store, meters = MemoryStore(), [Meter() for _ in range(4)]
    histories = await fill(store, 6 * PAGE)
    engine = FakeEngine()
    async with (
        warming(store, engine, meter=meters[0]),
        warming(store, engine, meter=meters[1]),
        warming(store, engine, meter=meters[2]),
        warming(store, engine, meter=meters[3]),
    ):
        progress = await ended(store)
    assert {user: result(store, user) for user in histories} == histories
    assert sum(meter.work.snapshots for meter in meters) == progress.snapshots == len(histories)  # nobody twice
    assert sum(meter.work.snapshots > 0 for meter in meters) > 1
    assert sum(meter.work.users for meter in meters) == progress.pass_number * len(histories)


class Hanging(MemoryStore):
    """Whoever would store the memos of the n-th call hangs there until it is woken."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left, self.hangs, self.wakes = at, asyncio.Event(), asyncio.Event()

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        self._left -= 1
        if self._left == 0:
            self.hangs.set()
            await self.wakes.wait()
        return await super().put_snapshots(puts)


@pytest.mark.parametrize("at", [1, 2, 5, 8])
async def test_a_worker_that_stops_anywhere_costs_nothing_even_if_it_wakes_up_late(at: int) -> None:
    store = Hanging(at)
    histories = await fill(store, 2 * PAGE)
    async with warming(store, FakeEngine()):
        await asyncio.wait_for(store.hangs.wait(), 10)
        async with warming(store, FakeEngine()):
            progress = await ended(store)
        assert {user: result(store, user) for user in histories} == histories
        assert progress.total_users == 2 * PAGE
        store.wakes.set()
    assert {user: result(store, user) for user in histories} == histories


class Watched(MemoryStore):
    """Tells when the first memos have come."""

    def __init__(self) -> None:
        super().__init__()
        self.first_put = asyncio.Event()

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        self.first_put.set()
        return await super().put_snapshots(puts)


async def test_a_rebuild_that_was_stopped_goes_on_where_it_was() -> None:
    store = Watched()
    histories = await fill(store, 6 * PAGE)
    async with warming(store, FakeEngine()):
        await store.first_put.wait()
    begun = (await list_backfills(store))["v1"]
    assert begun.ended_at is None
    stored = sum(len(log.snapshots) for log in store.logs.values())
    assert 0 < stored < len(histories)
    async with warming(store, FakeEngine(), meter=(meter := Meter())):
        progress = await ended(store)
    assert progress.started_at == begun.started_at
    assert meter.work.snapshots == len(histories) - stored
    assert {user: result(store, user) for user in histories} == histories


class Endless(MemoryStore):
    """It has more users than anybody will ever count."""

    def __init__(self) -> None:
        super().__init__()
        self.pages, self.fifth = 0, asyncio.Event()

    async def users(self, cursor: str, limit: int) -> tuple[list[str], str]:
        await asyncio.sleep(0.001)
        self.pages += 1
        if self.pages == 5:
            self.fifth.set()
        return ["u"], "more"


async def test_a_count_can_be_stopped() -> None:
    store, meter = Endless(), Meter()
    async with asyncio.timeout(10), warming(store, FakeEngine(), meter=meter):
        await store.fifth.wait()
    assert await list_backfills(store) == {}
    assert meter.shares == [None]


async def test_a_count_takes_no_more_than_its_share() -> None:
    store = Endless()
    async with warming(store, FakeEngine(), share=1e-7):  # for a millisecond's page it rests for three hours
        await asyncio.sleep(0.2)
    assert store.pages == 1


async def test_a_fold_that_is_under_way_is_over_when_it_is_closed() -> None:
    class Slow(FakeEngine):
        begun, ended = threading.Event(), threading.Event()

        def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
            self.begun.set()
            time.sleep(0.1)
            self.ended.set()
            return super().run(requests)

    store, engine = MemoryStore(), Slow()
    await fill(store, 3)
    async with warming(store, engine):
        assert await asyncio.to_thread(engine.begun.wait, 10)
    assert engine.ended.is_set()
    assert store.puts == []


async def test_what_has_ended_is_not_done_again_by_a_restart() -> None:
    store = MemoryStore()
    await fill(store, 5)
    async with warming(store, FakeEngine()):
        await ended(store)
    requests = len(store.requests)
    async with warming(store, FakeEngine()):
        await asyncio.sleep(0.05)
    assert len(store.requests) == requests


async def test_a_model_that_comes_back_is_rebuilt_again() -> None:
    store, live = MemoryStore(), [FakeEngine("v1")]
    histories = await fill(store, 5)
    async with warming(store, served=lambda: tuple(live)):
        await ended(store, "v1")
        live[0] = FakeEngine("v2")
        await ended(store, "v2")
        assert set(await list_backfills(store)) == {"v2"}  # the other one has ended, and serves nobody
        await store.append_and_read([AppendAndRead("u003", None, (event("9"), event("10")))])
        live[0] = FakeEngine("v1")
        await ended(store, "v1")
    assert result(store, "u003", "v1") == [*histories["u003"], "9", "10"]


async def test_it_waits_for_a_log_that_is_down_and_then_goes_on() -> None:
    store = Watched()
    histories = await fill(store, 2 * PAGE)
    store.down = True
    async with warming(store, FakeEngine()):
        await asyncio.sleep(0.05)
        assert store.puts == []
        store.down = False
        await store.first_put.wait()
        store.put_error = StoreUnavailable("the event log does not answer")
        await asyncio.sleep(0.05)
        store.put_error = None
        await ended(store)
    assert {user: result(store, user) for user in histories} == histories


async def test_an_empty_store_needs_nothing() -> None:
    store = MemoryStore()
    async with warming(store, FakeEngine()):
        progress = await ended(store)
    assert (progress.total_users, progress.snapshots, progress.pass_number) == (0, 0, 1)


async def test_a_note_of_another_release_is_begun_anew() -> None:
    store = MemoryStore()
    histories = await fill(store, 5)
    store.written = {"rebuild:v1": '{"something": "else"}', "rebuild:v0": "not even JSON", "live": "v1"}
    async with warming(store, FakeEngine()):
        await ended(store)
    assert {user: result(store, user) for user in histories} == histories
    assert set(store.written) == {"rebuild:v1", "live"}
