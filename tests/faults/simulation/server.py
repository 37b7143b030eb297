"""Simulated server of the event log, and the faulty connections to it."""

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
from tests.faults.simulation.checker import Checker
from tests.faults.simulation.timeline import Process, Timeline
from tests.store.reference_store import ReferenceStore

TIMEOUT_SECONDS = 0.05
MAX_TRAVEL_SECONDS = 0.003


@dataclass
class Faults:
    """Probabilities of the faults of one call.

    Attributes:
        before: the call is lost before it is executed.
        after: the reply is lost.
        late: the call times out, and is executed later.
        damage: a snapshot that is read has a flipped bit.
    """

    before: float
    after: float
    late: float
    damage: float

    def stop(self) -> None:
        self.before = self.after = self.late = self.damage = 0.0


class LogServer:
    """Server that executes one call at a time, and acknowledges replicated writes."""

    def __init__(
        self, timeline: Timeline, random: Random, model: ReferenceStore, checker: Checker, lag: float
    ) -> None:
        self.process = Process(timeline)
        self.model = model
        self.epoch = 0  # counts failovers
        self._checker = checker
        self._random = random
        self._lag = lag
        self._replica: dict[str, Any] = {}
        self._unreplicated: deque[tuple[float, str, Any]] = deque()

    def execute(self, epoch: int, users: Sequence[str], operation: Callable[[], Any]) -> tuple[Any, float]:
        """Run the operation; return its result and when it is replicated."""
        if epoch != self.epoch:  # the call was sent to the server before the failover
            raise StoreUnavailable("connection lost")
        result = operation()
        replicated = max(self.process.time() + self._random.random() * self._lag, self._last_replication())
        for user_id in users:
            self._checker.observe(user_id, self.model)
            self._unreplicated.append((replicated, user_id, self.model.record(user_id)))
        return result, replicated

    def _last_replication(self) -> float:
        return self._unreplicated[-1][0] if self._unreplicated else 0.0

    def fail_over(self) -> None:
        """Continue on the replica, without the writes that have not reached it."""
        self.epoch += 1
        touched = {user_id: None for _, user_id, _ in self._unreplicated}
        while self._unreplicated and self._unreplicated[0][0] <= self.process.time():
            _, user_id, record = self._unreplicated.popleft()
            self._replica[user_id] = record
        self._unreplicated.clear()
        for user_id in touched:
            self.model.restore(user_id, self._replica.get(user_id))
            self._checker.observe(user_id, self.model, failed_over=True)


class StoreLink:
    """Store of one process, over a faulty connection to the server."""

    def __init__(self, server: LogServer, process: Process, random: Random, faults: Faults, checker: Checker) -> None:
        self._server = server
        self._process = process
        self._random = random
        self._faults = faults
        self._checker = checker

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        """Execute the requests of one user in order, others in any."""
        reached: dict[str, float] = {}
        waiting = []
        for request in requests:
            due_at = max(self._arrival(), reached.get(request.user_id, 0.0))
            reached[request.user_id] = due_at
            waiting.append(
                self._send(
                    (request.user_id,), partial(self._append_and_read_one, request), due_at, bool(request.events)
                )
            )
        found = await asyncio.gather(*waiting, return_exceptions=True)
        return [self._damaged(view) for view in found]

    def _append_and_read_one(self, request: AppendAndRead) -> LogView:
        [view] = self._server.model.append_and_read([request])
        self._checker.read(request, view)
        return view

    def _damaged(self, found: Any) -> Any:
        if not isinstance(found, LogView) or found.snapshot is None or self._random.random() >= self._faults.damage:
            return found
        self._checker.count("snapshots damaged")
        at = self._random.randrange(len(found.snapshot))
        return replace(
            found, snapshot=found.snapshot[:at] + bytes([found.snapshot[at] ^ 1]) + found.snapshot[at + 1 :]
        )

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        calls = [self._send((put.user_id,), partial(self._put, put), self._arrival(), False) for put in puts]
        stored = await asyncio.gather(*calls, return_exceptions=True)
        for failure in stored:
            if isinstance(failure, BaseException):
                raise failure
        return list(stored)

    def _put(self, put: SnapshotPut) -> bool:
        [stored] = self._server.model.put_snapshots([put])
        self._checker.put(put, stored)
        return stored

    async def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        operation = partial(self._server.model.history, user_id, before, limit)
        return await self._send((user_id,), operation, self._arrival(), False)

    async def delete_event(self, user_id: str, event_id: str) -> bool:
        def operation() -> bool:
            deleted = self._server.model.delete_event(user_id, event_id)
            if deleted:
                self._checker.deleted(user_id, event_id)
            return deleted

        return await self._send((user_id,), operation, self._arrival(), True)

    async def delete_user(self, user_id: str) -> int:
        def operation() -> int:
            self._checker.deleted(user_id, None)
            return self._server.model.delete_user(user_id)

        return await self._send((user_id,), operation, self._arrival(), True)

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        """Merge in one step; the backends' steps have tests of their own."""

        def operation() -> Merged | None:
            self._checker.merged(user_id, from_user_id)
            return self._server.model.merge(user_id, from_user_id)

        return await self._send((user_id, from_user_id), operation, self._arrival(), True)

    def _arrival(self) -> float:
        return self._process.time() + self._random.random() * MAX_TRAVEL_SECONDS

    def _send(
        self, users: Sequence[str], operation: Callable[[], Any], due_at: float, writes: bool
    ) -> asyncio.Future[Any]:
        """Execute `operation` on the server at `due_at`, unless a fault prevents it."""
        reply = self._process.create_future()
        fate, faults = self._random.random(), self._faults
        reply_lost = False
        if (fate := fate - faults.before) < 0:
            self._checker.count("calls lost before execution")
            self._process.call_at(due_at, self._resolve, reply, StoreUnavailable("refused"), None)
            return reply
        if (fate := fate - faults.after) < 0:
            self._checker.count("replies lost")
            reply_lost = True
        elif fate - faults.late < 0:
            self._checker.count("calls executed after their timeout")
            due_at += TIMEOUT_SECONDS * (1 + 3 * self._random.random())
            self._process.call_later(TIMEOUT_SECONDS, self._resolve, reply, StoreUnavailable("hung"), None)
        self._server.process.call_at(
            due_at, self._execute, reply, users, operation, writes, reply_lost, self._server.epoch
        )
        return reply

    def _execute(
        self,
        reply: Any,
        users: Sequence[str],
        operation: Callable[[], Any],
        writes: bool,
        reply_lost: bool,
        epoch: int,
    ) -> None:
        back = self._arrival()
        try:
            result, replicated = self._server.execute(epoch, users, operation)
        except StoreUnavailable as error:
            self._process.call_at(back, self._resolve, reply, error, None)
            return
        if reply_lost:
            result = StoreUnavailable("reply lost")
        self._process.call_at(max(back, replicated if writes else 0.0), self._resolve, reply, result, epoch)

    def _resolve(self, reply: asyncio.Future[Any], result: Any, epoch: int | None) -> None:
        if reply.done():
            return
        if epoch is not None and epoch != self._server.epoch:
            result = StoreUnavailable("connection lost")
        if isinstance(result, Exception):
            reply.set_exception(result)
        else:
            reply.set_result(result)
