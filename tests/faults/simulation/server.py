"""The event log's server, its replica, and the connection of a process to it, on which everything may go wrong."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, History, LogView, Merged, SnapshotPut
from tests.faults.simulation.judge import Judge
from tests.faults.simulation.timeline import Process, Timeline
from tests.store.reference_store import ReferenceStore

BUDGET = 0.05  # seconds until a call is given up
TRAVEL = 0.003  # seconds that a message takes at most


@dataclass
class Faults:
    """How often a call fails before it is executed, after it, or is given up and executed later; and damage."""

    before: float
    after: float
    late: float
    damage: float

    def stop(self) -> None:
        self.before = self.after = self.late = self.damage = 0.0


class LogServer:
    """Executes one call after the other. Writes are acknowledged when the replica has them."""

    def __init__(self, timeline: Timeline, random: Random, model: ReferenceStore, judge: Judge, lag: float) -> None:
        self.process = Process(timeline)
        self.model = model
        self.epoch = 0  # counts failovers
        self._evaluate = judge
        self._random = random
        self._lag = lag
        self._replica: dict[str, Any] = {}
        self._under_way: deque[tuple[float, str, Any]] = deque()

    def execute(self, epoch: int, users: Sequence[str], operation: Callable[[], Any]) -> tuple[Any, float]:
        """What the operation on these users returns, and when its effects are replicated, all at once."""
        if epoch != self.epoch:  # it was sent to a server that is gone
            raise StoreUnavailable("connection lost")
        result = operation()
        replicated = max(self.process.time() + self._random.random() * self._lag, self._newest())
        for user_id in users:
            self._evaluate.observe(user_id, self.model)
            self._under_way.append((replicated, user_id, self.model.record(user_id)))
        return result, replicated

    def _newest(self) -> float:
        return self._under_way[-1][0] if self._under_way else 0.0

    def fail_over(self) -> None:
        """The replica takes over, with what has reached it."""
        self.epoch += 1
        touched = {user_id: None for _, user_id, _ in self._under_way}
        while self._under_way and self._under_way[0][0] <= self.process.time():
            _, user_id, record = self._under_way.popleft()
            self._replica[user_id] = record
        self._under_way.clear()
        for user_id in touched:
            self.model.restore(user_id, self._replica.get(user_id))
            self._evaluate.observe(user_id, self.model, failed_over=True)


class StoreLink:
    """The store as one process sees it."""

    def __init__(self, server: LogServer, process: Process, random: Random, faults: Faults, judge: Judge) -> None:
        self._server = server
        self._process = process
        self._random = random
        self._faults = faults
        self._evaluate = judge

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        """Those to one user are executed in order, those to several in any."""
        reached: dict[str, float] = {}
        waiting = []
        for request in requests:
            when = max(self._soon(), reached.get(request.user_id, 0.0))
            reached[request.user_id] = when
            waiting.append(self._send((request.user_id,), partial(self._visit, request), when, bool(request.events)))
        found = await asyncio.gather(*waiting, return_exceptions=True)
        return [self._damaged(view) for view in found]

    def _visit(self, request: AppendAndRead) -> LogView:
        [view] = self._server.model.append_and_read([request])
        self._evaluate.visited(request, view)
        return view

    def _damaged(self, found: Any) -> Any:
        if not isinstance(found, LogView) or found.snapshot is None or self._random.random() >= self._faults.damage:
            return found
        self._evaluate.count("memos damaged")
        at = self._random.randrange(len(found.snapshot))
        return replace(
            found, snapshot=found.snapshot[:at] + bytes([found.snapshot[at] ^ 1]) + found.snapshot[at + 1 :]
        )

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        calls = [self._send((put.user_id,), partial(self._put, put), self._soon(), False) for put in puts]
        stored = await asyncio.gather(*calls, return_exceptions=True)
        for failure in stored:
            if isinstance(failure, BaseException):
                raise failure
        return list(stored)

    def _put(self, put: SnapshotPut) -> bool:
        [stored] = self._server.model.put_snapshots([put])
        self._evaluate.put(put, stored)
        return stored

    async def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        work = partial(self._server.model.history, user_id, before, limit)
        return await self._send((user_id,), work, self._soon(), False)

    async def delete_event(self, user_id: str, event_id: str) -> bool:
        def work() -> bool:
            deleted = self._server.model.delete_event(user_id, event_id)
            if deleted:
                self._evaluate.deleted(user_id, event_id)
            return deleted

        return await self._send((user_id,), work, self._soon(), True)

    async def delete_user(self, user_id: str) -> int:
        def work() -> int:
            self._evaluate.deleted(user_id, None)
            return self._server.model.delete_user(user_id)

        return await self._send((user_id,), work, self._soon(), True)

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        """In one step: the steps of the backends are the subject of their own tests."""

        def work() -> Merged | None:
            self._evaluate.merged(user_id, from_user_id)
            return self._server.model.merge(user_id, from_user_id)

        return await self._send((user_id, from_user_id), work, self._soon(), True)

    def _soon(self) -> float:
        return self._process.time() + self._random.random() * TRAVEL

    def _send(self, users: Sequence[str], work: Callable[[], Any], when: float, writes: bool) -> asyncio.Future[Any]:
        """`work` on `users`, executed on the server at `when`, if nothing happens to it."""
        reply = self._process.create_future()
        fate, faults = self._random.random(), self._faults
        unheard = False
        if (fate := fate - faults.before) < 0:
            self._evaluate.count("calls lost before execution")
            self._process.call_at(when, self._settle, reply, StoreUnavailable("refused"), None)
            return reply
        if (fate := fate - faults.after) < 0:
            self._evaluate.count("replies lost")
            unheard = True
        elif fate - faults.late < 0:
            self._evaluate.count("calls executed after they were given up")
            when += BUDGET * (1 + 3 * self._random.random())
            self._process.call_later(BUDGET, self._settle, reply, StoreUnavailable("hung"), None)
        self._server.process.call_at(when, self._execute, reply, users, work, writes, unheard, self._server.epoch)
        return reply

    def _execute(
        self, reply: Any, users: Sequence[str], work: Callable[[], Any], writes: bool, unheard: bool, epoch: int
    ) -> None:
        back = self._soon()
        try:
            result, replicated = self._server.execute(epoch, users, work)
        except StoreUnavailable as error:
            self._process.call_at(back, self._settle, reply, error, None)
            return
        if unheard:
            result = StoreUnavailable("reply lost")
        self._process.call_at(max(back, replicated if writes else 0.0), self._settle, reply, result, epoch)

    def _settle(self, reply: asyncio.Future[Any], result: Any, epoch: int | None) -> None:
        if reply.done():
            return
        if epoch is not None and epoch != self._server.epoch:
            result = StoreUnavailable("connection lost")
        if isinstance(result, Exception):
            reply.set_exception(result)
        else:
            reply.set_result(result)
