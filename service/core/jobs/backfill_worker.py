"""Memos for users who have none, or one that is behind: what a user's next reader would fold, folded before."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from service.core.errors import StoreUnavailable
from service.core.events import MemoPut, Snapshot, Visit
from service.core.jobs.backfill_progress_record import Work
from service.core.jobs.low_priority_thread import give_way
from service.core.ports import Engine, Folded, StateDamaged, Turn
from service.core.recommending.snapshots import Memo, MemoDamaged, decode_memo, memo_after, memo_due
from service.core.store_port import Store
from service.core.throttle import rest

# Events and users that one visit of the store brings, about: decoding them is a millisecond's work on the event loop.
EVENTS_A_VISIT, MOST_USERS_A_VISIT = 400, 32
# Events of a fold, about: enough for full matrix products. Their ids become rows under the GIL, half a millisecond.
EVENTS_A_FOLD = 4096
MEMOS_A_PUT = 16

# (user, snapshot with pending events), and the same with the memo to continue.
Found = tuple[str, Snapshot]
Begun = tuple[str, Snapshot, Memo | None]


class RefoldMeter(Protocol):
    """What a refolder reports."""

    def rebuilt(self, work: Work) -> None:
        """So much was done."""
        ...

    def memo_damaged(self) -> None:
        """A memo failed its check and is being rebuilt."""
        ...


class Refolder:
    """Brings users' memos up to their logs, a batch at a time; the folds in a thread that gives way to all others.

    After each piece of the work it rests, so that it works for `share` of the time at most. A request takes several
    turns of the event loop: with a rest after each batch alone, every one of these would wait for a piece of it.
    """

    def __init__(self, store: Store, meter: RefoldMeter, share: float) -> None:
        self._store = store
        self._meter = meter
        self._share = share
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rebuild", initializer=give_way)
        self._users_a_visit = 1

    async def close(self) -> None:
        """End the thread, after the fold that may be under way."""
        await asyncio.to_thread(self._thread.shutdown)

    async def batch(self, engine: Engine, waiting: deque[str]) -> Work:
        """Take users from the front of `waiting`, as many as make a batch; raises `StoreUnavailable`."""
        looked, found = await self._read(engine, waiting)
        began = time.monotonic()
        puts = await self._fold(engine, found)
        await rest(began, self._share)
        stored = 0
        for start in range(0, len(puts), MEMOS_A_PUT):
            began = time.monotonic()
            stored += sum(await self._store.put_memos(puts[start : start + MEMOS_A_PUT]))
            await rest(began, self._share)
        work = looked + Work(memos=stored, events=sum(len(snapshot.pending) for _, snapshot in found))
        self._meter.rebuilt(work)
        return work

    async def _read(self, engine: Engine, waiting: deque[str]) -> tuple[Work, list[Found]]:
        """Visit users from the front of `waiting`, until there is enough to fold."""
        users = behind = events = 0
        found: list[Found] = []
        while waiting and events < EVENTS_A_FOLD:
            began = time.monotonic()
            some = [waiting.popleft() for _ in range(min(self._users_a_visit, len(waiting)))]
            snapshots = await self._store.visit([Visit(user, engine.version) for user in some])
            fresh = 0
            for user, snapshot in zip(some, snapshots, strict=True):
                if isinstance(snapshot, StoreUnavailable):
                    behind += 1  # for a later walk to find out
                elif memo_due(snapshot):
                    behind += 1
                    fresh += len(snapshot.pending)
                    found.append((user, snapshot))
            users += len(some)
            events += fresh
            wanted = EVENTS_A_VISIT * len(some) // max(1, fresh)
            self._users_a_visit = max(1, min(wanted, 2 * self._users_a_visit, MOST_USERS_A_VISIT))
            await rest(began, self._share)
        return Work(users, behind), found

    async def _fold(self, engine: Engine, found: Sequence[Found]) -> list[MemoPut]:
        """The memos of what was found; one that is damaged is folded anew from all kept events."""
        begun: list[Begun] = []
        damaged: list[str] = []
        for user, snapshot in found:
            try:
                memo = None if snapshot.memo is None else decode_memo(snapshot.memo, user, engine.version)
            except MemoDamaged:
                damaged.append(user)
            else:
                begun.append((user, snapshot, memo))
        puts = []
        for (user, snapshot, memo), folded in zip(begun, await self._states(engine, begun), strict=True):
            if isinstance(folded, StateDamaged):
                damaged.append(user)
            else:
                puts.append(memo_after(user, engine.version, snapshot, memo, folded.state))
        return puts + await self._repair(engine, damaged)

    async def _repair(self, engine: Engine, users: Sequence[str]) -> list[MemoPut]:
        whole: list[Begun] = []
        for user in users:
            self._meter.memo_damaged()
            [snapshot] = await self._store.visit([Visit(user, None)])
            if isinstance(snapshot, Snapshot) and snapshot.pending:
                whole.append((user, snapshot, None))
        return [
            memo_after(user, engine.version, snapshot, None, folded.state, repair=True)
            for (user, snapshot, _), folded in zip(whole, await self._states(engine, whole), strict=True)
            if isinstance(folded, Folded)
        ]

    async def _states(self, engine: Engine, begun: Sequence[Begun]) -> list[Folded | StateDamaged]:
        if not begun:
            return []
        turns = [
            Turn(None if memo is None else memo.state, tuple(event.item_id for event in snapshot.pending), None)
            for _, snapshot, memo in begun
        ]
        return await asyncio.get_running_loop().run_in_executor(self._thread, engine.run, turns)
