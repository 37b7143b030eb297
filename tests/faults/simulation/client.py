"""Simulated client: calls the service, and retries with the same event_id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from service.core.engine_requests import TopK
from service.core.errors import EventConflict, EventNotFound, ServiceError, UserNotFound
from service.core.events import NewEvent
from service.core.recommending.results import Answer, Recorded
from tests.faults.simulation.checker import Acknowledged, Checker
from tests.faults.simulation.engine import ITEMS
from tests.faults.simulation.timeline import Process
from tests.faults.simulation.worker import ConnectionLost, Worker

TOP_1 = TopK(1, False)
MAX_ATTEMPTS = 200
RETRIED = (ServiceError, ConnectionLost, TimeoutError)
REFUSALS = (EventConflict, EventNotFound, UserNotFound)


class Client:
    """Client that sends one call at a time, to a random worker."""

    def __init__(
        self, name: str, process: Process, random: Random, workers: list[Worker], checker: Checker, users: list[str]
    ) -> None:
        self.process = process
        self._name = name
        self._random = random
        self._workers = workers
        self._checker = checker
        self._users = [*users, f"visitor-{name}"]  # this client's visitor is merged into one of the shared users
        self._acknowledged: list[Acknowledged] = []
        self._posted = 0
        self._attempts = 0  # of the last call

    async def run(self, count: int) -> None:
        actions = [
            self._post,
            self._post,
            self._post,
            self._batch,
            self._recommend,
            self._recommend,
            self._resend,
            self._reuse_id,
        ]
        actions += [self._delete_event, self._read_history, self._audit, self._merge]
        for _ in range(count):
            await asyncio.sleep(self._random.random() * 0.01)
            action = self._random.choice(actions) if self._random.random() > 0.03 else self._delete_user
            await action(self._random.choice(self._users))

    async def _call_until_answered(self, call: Callable[[Worker], Coroutine[Any, Any, Any]]) -> Any:
        """Retry until a worker answers; return its result, or one of `REFUSALS`."""
        for self._attempts in range(1, MAX_ATTEMPTS):
            try:
                return await self._attempt(call)
            except REFUSALS as error:
                return error
            except RETRIED:
                self._checker.count("attempts failed")
                await asyncio.sleep(self._random.random() * 0.02)
        self._checker.report_violation(f"{self._name} got no answer")
        return None

    async def _attempt(self, call: Callable[[Worker], Coroutine[Any, Any, Any]]) -> Any:
        worker = self._random.choice(self._workers)
        return await asyncio.wait_for(worker.call(self.process, call), self._random.choice([0.03, 0.3]))

    def _event(self, event_id: str | None, item_id: str | None = None) -> NewEvent:
        return NewEvent.create(item_id or self._random.choice(ITEMS), 1.0, event_id, 0.0)

    def _new_id(self) -> str:
        self._posted += 1
        return f"{self._name}-{self._posted}"

    async def _post(self, user_id: str) -> None:
        started_at = self.process.time()
        ask = self._random.choice([TOP_1, TOP_1, None])
        if self._random.random() < 0.15:
            # An event without an id is sent once, because a retry could append it twice.
            event = self._event(None)
            try:
                result = await self._attempt(lambda worker: _record_by(worker, user_id, event, ask))
            except RETRIED:
                return
        else:
            event = self._event(self._new_id())
            result = await self._call_until_answered(lambda worker: _record_by(worker, user_id, event, ask))
        self._check_result(user_id, event, result, started_at, self._attempts)

    def _check_result(self, user_id: str, event: NewEvent, result: Any, started_at: float, attempts: int) -> None:
        if not isinstance(result, Recorded):
            if result is not None:
                self._checker.report_violation(f"{self._name} got {result!r} for {event}")
            return
        event_id = event.event_id or f"seq-{result.sequence}"
        known = Acknowledged(user_id, event_id, event.item_id, result.sequence, started_at, attempts)
        self._checker.acknowledged(self._name, known)
        self._acknowledged.append(known)
        if result.answer is not None:
            self._checker.answered(user_id, result.answer, started_at)

    async def _batch(self, user_id: str) -> None:
        """Send events of several users in one request; retry failed ones."""
        started_at = self.process.time()
        waiting = [
            (self._random.choice(self._users), self._event(self._new_id())) for _ in range(self._random.randint(2, 4))
        ]
        attempts = 0
        while waiting:
            batch = list(waiting)
            outcomes = await self._call_until_answered(
                lambda worker, batch=batch: worker.recommender.record_batch(batch)
            )
            if outcomes is None:
                return
            attempts += self._attempts
            waiting = []
            for (user, event), outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, ServiceError) and not isinstance(outcome, REFUSALS):
                    waiting.append((user, event))
            if waiting and len(waiting) < len(batch):
                self._checker.count("batches refused in part")
            self._check_batch(batch, outcomes, started_at, attempts)

    def _check_batch(
        self, batch: list[tuple[str, NewEvent]], outcomes: list[Any], started_at: float, attempts: int
    ) -> None:
        # The events of one user are appended together, so their results are in their order.
        for (user, event), outcome in zip(batch, outcomes, strict=True):
            if not isinstance(outcome, ServiceError) or isinstance(outcome, REFUSALS):
                self._check_result(user, event, outcome, started_at, attempts)

    async def _recommend(self, user_id: str) -> None:
        started_at = self.process.time()
        answer = await self._call_until_answered(lambda worker: _recommend_by(worker, user_id))
        if answer is not None:
            self._checker.answered(user_id, answer, started_at)

    async def _resend(self, user_id: str) -> None:
        """Send an acknowledged event again."""
        named = [known for known in self._acknowledged if not known.event_id.startswith("seq-")]
        if named:
            known = self._random.choice(named)
            self._checker.resent_ids.add(known.event_id)
            event = self._event(known.event_id, known.item_id)
            result = await self._call_until_answered(lambda worker: _record_by(worker, known.user_id, event, None))
            if result is not None:
                self._checker.repeated(known, result)

    async def _reuse_id(self, user_id: str) -> None:
        """Send another event with a used id, which must conflict."""
        named = [known for known in self._acknowledged if not known.event_id.startswith("seq-")]
        if named:
            known = self._random.choice(named)
            self._checker.resent_ids.add(known.event_id)
            event = self._event(known.event_id, "another")
            result = await self._call_until_answered(lambda worker: _record_by(worker, known.user_id, event, None))
            if isinstance(result, EventConflict):
                self._checker.count("conflicts")
            elif result is not None:
                self._checker.repeated(known, result)
                self._acknowledged.remove(known)

    async def _delete_event(self, user_id: str) -> None:
        if self._acknowledged and self._random.random() < 0.5:
            known = self._acknowledged.pop(self._random.randrange(len(self._acknowledged)))
            await self._call_until_answered(
                lambda worker: worker.recommender.delete_event(known.user_id, known.event_id)
            )

    async def _delete_user(self, user_id: str) -> None:
        await self._call_until_answered(lambda worker: worker.recommender.delete_user(user_id))

    async def _merge(self, user_id: str) -> None:
        """Merge the visitor into a shared user, and forget the visitor's events."""
        *shared, visitor = self._users
        self._acknowledged = [known for known in self._acknowledged if known.user_id != visitor]
        into = self._random.choice(shared)
        await self._call_until_answered(lambda worker: worker.recommender.merge_user(into, visitor))

    async def _read_history(self, user_id: str) -> None:
        started_at = self.process.time()
        history = await self._call_until_answered(lambda worker: worker.recommender.history(user_id, None, 1000))
        if history is not None and not isinstance(history, UserNotFound):
            self._checker.listed(user_id, history, started_at)

    async def _audit(self, user_id: str) -> None:
        audit = await self._call_until_answered(lambda worker: worker.recommender.audits.snapshot(user_id))
        if audit is None or isinstance(audit, UserNotFound) or audit.snapshot != "found":
            return
        self._checker.count("snapshots audited")
        if audit.exact and audit.max_relative_error != 0.0:
            self._checker.report_violation(f"wrong snapshot: {user_id} at {audit.applied} differs from the log")


async def _record_by(worker: Worker, user_id: str, event: NewEvent, ask: TopK | None) -> Recorded:
    served = [engine.version for engine in worker.models.served]
    result = await worker.recommender.record(user_id, event, ask)
    assert result.answer is None or result.answer.model_version in served
    return result


async def _recommend_by(worker: Worker, user_id: str) -> Answer:
    served = [engine.version for engine in worker.models.served]
    answer = await worker.recommender.recommend(user_id, TOP_1)
    assert answer.model_version in served
    return answer
