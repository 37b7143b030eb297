"""Worker of a backfill: computes missing and outdated snapshots.

It computes what the user's next reader would compute, with the same functions, only earlier.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from service.core.engine_requests import EngineResult
from service.core.errors import SnapshotDamagedError, StoreUnavailable
from service.core.events import AppendAndRead, LogView, SnapshotPut
from service.core.jobs.backfill_progress_record import BackfillWork
from service.core.jobs.low_priority_thread import lower_thread_priority
from service.core.ports import Engine, Store
from service.core.recommending.log_replay.snapshots import NewItems, NoNewItems, mark_of, snapshot_due
from service.core.recommending.log_replay.user_replay import UserReplay
from service.core.throttle import throttle

# About as many events and users as one read returns: the event loop decodes them in a millisecond.
EVENTS_PER_READ, MAX_USERS_PER_READ = 400, 32
# About as many events as one replay takes: enough for full matrix products. Mapping their item ids to rows holds the
# GIL for half a millisecond.
EVENTS_PER_REPLAY = 4096
SNAPSHOTS_PER_WRITE = 16


class BackfillMeter(Protocol):
    """Metrics of the backfill."""

    def backfill_progress(self, fraction_done: float | None) -> None:
        """Report the progress of all workers; None if this one is idle."""
        ...

    def backfilled(self, work: BackfillWork) -> None:
        """Count the work of one batch."""
        ...

    def snapshot_damaged(self) -> None:
        """Count a snapshot that failed its check."""
        ...


class BackfillWorker:
    """Brings snapshots up to date, a batch of users at a time.

    Replays run in a thread of low priority. The worker pauses after each read, replay and write, not only after each
    batch, because a request takes several passes of the event loop, and each of these would wait (decision 0080).
    """

    def __init__(
        self, store: Store, meter: BackfillMeter, max_fraction: float, new_items: NewItems | None = None
    ) -> None:
        """Create the worker; it works at most `max_fraction` of the time."""
        self._store = store
        self._new_items = new_items or NoNewItems()
        self._meter = meter
        self._max_fraction = max_fraction
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="backfill", initializer=lower_thread_priority)
        self._users_per_read = 1

    async def close(self) -> None:
        """End the thread, after a replay that is running."""
        await asyncio.to_thread(self._thread.shutdown)

    async def process_batch(self, engine: Engine, users: deque[str]) -> BackfillWork:
        """Process one batch from the front of `users`; raise `StoreUnavailable`."""
        read, behind = await self._read_logs(engine, users)
        started_at = time.monotonic()
        puts = await self._replay(engine, behind)
        await throttle(started_at, self._max_fraction)
        stored = 0
        for start in range(0, len(puts), SNAPSHOTS_PER_WRITE):
            started_at = time.monotonic()
            stored += sum(await self._store.put_snapshots(puts[start : start + SNAPSHOTS_PER_WRITE]))
            await throttle(started_at, self._max_fraction)
        work = read + BackfillWork(snapshots=stored, events=sum(len(view.pending) for _, view in behind))
        self._meter.backfilled(work)
        return work

    async def _read_logs(self, engine: Engine, users: deque[str]) -> tuple[BackfillWork, list[tuple[str, LogView]]]:
        """Read from the front of `users` until there are enough events."""
        read = behind = events = 0
        found: list[tuple[str, LogView]] = []
        while users and events < EVENTS_PER_REPLAY:
            started_at = time.monotonic()
            page = [users.popleft() for _ in range(min(self._users_per_read, len(users)))]
            views = await self._store.append_and_read([AppendAndRead(user, engine.version) for user in page])
            page_events = 0
            for user, view in zip(page, views, strict=True):
                if isinstance(view, StoreUnavailable):
                    behind += 1  # the next pass reads this user again
                elif snapshot_due(view):
                    behind += 1
                    page_events += len(view.pending)
                    found.append((user, view))
            read += len(page)
            events += page_events
            fitting = EVENTS_PER_READ * len(page) // max(1, page_events)
            self._users_per_read = max(1, min(fitting, 2 * self._users_per_read, MAX_USERS_PER_READ))
            await throttle(started_at, self._max_fraction)
        return BackfillWork(read, behind), found

    async def _replay(self, engine: Engine, logs: Sequence[tuple[str, LogView]]) -> list[SnapshotPut]:
        """Continue usable snapshots, and compute the others anew."""
        usable: list[UserReplay] = []
        unusable: dict[str, bool] = {}  # by user: whether to replace the stored snapshot in any case
        for user_id, view in logs:
            try:
                replay = UserReplay.of(engine, user_id, view)
            except SnapshotDamagedError:
                self._meter.snapshot_damaged()
                unusable[user_id] = True
                continue
            worth = "usable"
            if self._new_items.held(engine) is not None:
                worth = await self._new_items.prepare(engine, mark_of(replay.snapshot), replay.item_ids)
            if worth == "usable":
                usable.append(replay)
            else:
                unusable[user_id] = worth == "undone"
        puts, damaged = await self._run_engine(engine, usable)
        for user_id in damaged:
            self._meter.snapshot_damaged()
            unusable[user_id] = True
        return puts + await self._replay_all(engine, unusable)

    async def _replay_all(self, engine: Engine, users: Mapping[str, bool]) -> list[SnapshotPut]:
        """Compute snapshots from all kept events."""
        whole: list[UserReplay] = []
        for user_id in users:
            [view] = await self._store.append_and_read([AppendAndRead(user_id, None)])
            if isinstance(view, LogView) and view.pending:
                whole.append(UserReplay.of(engine, user_id, view))
        puts, _ = await self._run_engine(engine, whole)
        return [put._replace(repair=users[put.user_id]) for put in puts]

    async def _run_engine(self, engine: Engine, replays: Sequence[UserReplay]) -> tuple[list[SnapshotPut], list[str]]:
        """Run `replays` in the thread of low priority.

        Returns the new snapshots, and the users whose states are damaged.
        """
        if not replays:
            return [], []
        requests = [replay.request() for replay in replays]
        held = self._new_items.held(engine)
        start = None if held is None else held.start()
        results = await asyncio.get_running_loop().run_in_executor(self._thread, engine.run, requests)
        puts, damaged = [], []
        for replay, result in zip(replays, results, strict=True):
            if not isinstance(result, EngineResult):
                damaged.append(replay.user_id)
                continue
            mark = None
            if held is not None and start is not None:
                mark = held.mark(start, engine.extended, mark_of(replay.snapshot), replay.item_ids, engine.knows)
                if mark is None:  # vectors arrived meanwhile; the next pass computes the snapshot
                    continue
            puts.append(replay.next_snapshot(result.state, mark=mark))
        return puts, damaged
