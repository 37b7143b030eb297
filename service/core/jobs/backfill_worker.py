"""Memos for users who have none, or one that is behind: what a user's next reader would fold, folded before."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from service.core.engine_requests import EngineRequest, EngineResult, StateDamagedError
from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, LogView, SnapshotPut
from service.core.jobs.backfill_progress_record import BackfillWork
from service.core.jobs.low_priority_thread import lower_thread_priority
from service.core.ports import Engine, Store
from service.core.recommending.snapshots import (
    Snapshot,
    SnapshotDamagedError,
    decode_snapshot,
    next_snapshot,
    snapshot_due,
)
from service.core.throttle import throttle

# Events and users that one visit of the store brings, about: decoding them is a millisecond's work on the event loop.
EVENTS_PER_READ, MAX_USERS_PER_READ = 400, 32
# Events of a fold, about: enough for full matrix products. Their ids become rows under the GIL, half a millisecond.
EVENTS_PER_REPLAY = 4096
SNAPSHOTS_A_PUT = 16

# (user, snapshot with pending events), and the same with the memo to continue.
Found = tuple[str, LogView]
Begun = tuple[str, LogView, Snapshot | None]


class BackfillWorkerMeter(Protocol):
    """What a refolder reports."""

    def backfilled(self, work: BackfillWork) -> None:
        """So much was done."""
        ...

    def snapshot_damaged(self) -> None:
        """A memo failed its check and is being rebuilt."""
        ...


class BackfillWorker:
    """Brings users' memos up to their logs, a batch at a time; the folds in a thread that gives way to all others.

    After each piece of the work it rests, so that it works for `share` of the time at most. A request takes several
    turns of the event loop: with a rest after each batch alone, every one of these would wait for a piece of it.
    """

    def __init__(self, store: Store, meter: BackfillWorkerMeter, share: float) -> None:
        self._store = store
        self._meter = meter
        self._share = share
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rebuild", initializer=lower_thread_priority)
        self._users_a_visit = 1

    async def close(self) -> None:
        """End the thread, after the fold that may be under way."""
        await asyncio.to_thread(self._thread.shutdown)

    async def batch(self, engine: Engine, waiting: deque[str]) -> BackfillWork:
        """Take users from the front of `waiting`, as many as make a batch; raises `StoreUnavailable`."""
        looked, found = await self._read(engine, waiting)
        began = time.monotonic()
        puts = await self._fold(engine, found)
        await throttle(began, self._share)
        stored = 0
        for start in range(0, len(puts), SNAPSHOTS_A_PUT):
            began = time.monotonic()
            stored += sum(await self._store.put_snapshots(puts[start : start + SNAPSHOTS_A_PUT]))
            await throttle(began, self._share)
        work = looked + BackfillWork(snapshots=stored, events=sum(len(view.pending) for _, view in found))
        self._meter.backfilled(work)
        return work

    async def _read(self, engine: Engine, waiting: deque[str]) -> tuple[BackfillWork, list[Found]]:
        """Visit users from the front of `waiting`, until there is enough to fold."""
        users = behind = events = 0
        found: list[Found] = []
        while waiting and events < EVENTS_PER_REPLAY:
            began = time.monotonic()
            some = [waiting.popleft() for _ in range(min(self._users_a_visit, len(waiting)))]
            views = await self._store.append_and_read([AppendAndRead(user, engine.version) for user in some])
            fresh = 0
            for user, view in zip(some, views, strict=True):
                if isinstance(view, StoreUnavailable):
                    behind += 1  # for a later walk to find out
                elif snapshot_due(view):
                    behind += 1
                    fresh += len(view.pending)
                    found.append((user, view))
            users += len(some)
            events += fresh
            wanted = EVENTS_PER_READ * len(some) // max(1, fresh)
            self._users_a_visit = max(1, min(wanted, 2 * self._users_a_visit, MAX_USERS_PER_READ))
            await throttle(began, self._share)
        return BackfillWork(users, behind), found

    async def _fold(self, engine: Engine, found: Sequence[Found]) -> list[SnapshotPut]:
        """The memos of what was found; one that is damaged is folded anew from all kept events."""
        begun: list[Begun] = []
        damaged: list[str] = []
        for user, view in found:
            try:
                snapshot = None if view.snapshot is None else decode_snapshot(view.snapshot, user, engine.version)
            except SnapshotDamagedError:
                damaged.append(user)
            else:
                begun.append((user, view, snapshot))
        puts = []
        for (user, view, snapshot), result in zip(begun, await self._states(engine, begun), strict=True):
            if isinstance(result, StateDamagedError):
                damaged.append(user)
            else:
                puts.append(next_snapshot(user, engine.version, view, snapshot, result.state))
        return puts + await self._repair(engine, damaged)

    async def _repair(self, engine: Engine, users: Sequence[str]) -> list[SnapshotPut]:
        whole: list[Begun] = []
        for user in users:
            self._meter.snapshot_damaged()
            [view] = await self._store.append_and_read([AppendAndRead(user, None)])
            if isinstance(view, LogView) and view.pending:
                whole.append((user, view, None))
        return [
            next_snapshot(user, engine.version, view, None, result.state, repair=True)
            for (user, view, _), result in zip(whole, await self._states(engine, whole), strict=True)
            if isinstance(result, EngineResult)
        ]

    async def _states(self, engine: Engine, begun: Sequence[Begun]) -> list[EngineResult | StateDamagedError]:
        if not begun:
            return []
        requests = [
            EngineRequest(
                None if snapshot is None else snapshot.state, tuple(event.item_id for event in view.pending), None
            )
            for _, view, snapshot in begun
        ]
        return await asyncio.get_running_loop().run_in_executor(self._thread, engine.run, requests)
