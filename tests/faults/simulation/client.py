"""A client: posts events, asks, edits, and repeats with the same event_id what it does not know to have counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from service.core.engine_requests import TopK
from service.core.errors import EventConflict, EventNotFound, ServiceError, UserNotFound
from service.core.events import NewEvent
from service.core.recommending.results import Answer, Recorded
from tests.faults.simulation.engine import ITEMS
from tests.faults.simulation.judge import Acknowledged, Judge
from tests.faults.simulation.timeline import Process
from tests.faults.simulation.worker import ConnectionLost, Worker

ASK = TopK(1, False)
MOST_TRIES = 200
NOT_DONE = (ServiceError, ConnectionLost, TimeoutError)
SAID_NO = (EventConflict, EventNotFound, UserNotFound)


class Client:
    """`workers` are asked in any order; `edits` says whether this client also deletes."""

    def __init__(
        self, name: str, process: Process, random: Random, workers: list[Worker], judge: Judge, users: list[str]
    ) -> None:
        self.process = process
        self._name = name
        self._random = random
        self._workers = workers
        self._evaluate = judge
        self._users = [*users, f"visitor-{name}"]  # shared ones, and one of its own that becomes one of them
        self._acknowledged: list[Acknowledged] = []
        self._posted = 0
        self._tries = 0  # of the last call

    async def live(self, actions: int) -> None:
        doings = [
            self._post,
            self._post,
            self._post,
            self._batch,
            self._ask,
            self._ask,
            self._repeat,
            self._contradict,
        ]
        doings += [self._delete_event, self._list, self._audit, self._merge]
        for _ in range(actions):
            await asyncio.sleep(self._random.random() * 0.01)
            doing = self._random.choice(doings) if self._random.random() > 0.03 else self._delete_user
            await doing(self._random.choice(self._users))

    async def _until_told(self, use: Callable[[Worker], Coroutine[Any, Any, Any]]) -> Any:
        """What some worker says in the end: its result, or one of `SAID_NO`."""
        for self._tries in range(1, MOST_TRIES):
            try:
                return await self._try(use)
            except SAID_NO as error:
                return error
            except NOT_DONE:
                self._evaluate.count("tries failed")
                await asyncio.sleep(self._random.random() * 0.02)
        self._evaluate.accuse(f"{self._name} was never answered")
        return None

    async def _try(self, use: Callable[[Worker], Coroutine[Any, Any, Any]]) -> Any:
        worker = self._random.choice(self._workers)
        return await asyncio.wait_for(worker.call(self.process, use), self._random.choice([0.03, 0.3]))

    def _event(self, event_id: str | None, item_id: str | None = None) -> NewEvent:
        return NewEvent.create(item_id or self._random.choice(ITEMS), 1.0, event_id, 0.0)

    def _new_id(self) -> str:
        self._posted += 1
        return f"{self._name}-{self._posted}"

    async def _post(self, user_id: str) -> None:
        begun = self.process.time()
        ask = self._random.choice([ASK, ASK, None])
        if self._random.random() < 0.15:
            # Without an id it is sent once: nobody knows what became of it if that fails.
            event = self._event(None)
            try:
                told = await self._try(lambda worker: _record(worker, user_id, event, ask))
            except NOT_DONE:
                return
        else:
            event = self._event(self._new_id())
            told = await self._until_told(lambda worker: _record(worker, user_id, event, ask))
        self._told(user_id, event, told, begun, self._tries)

    def _told(self, user_id: str, event: NewEvent, told: Any, begun: float, tries: int) -> None:
        if not isinstance(told, Recorded):
            if told is not None:
                self._evaluate.accuse(f"{self._name} was told {told!r} of {event}")
            return
        event_id = event.event_id or f"seq-{told.sequence}"
        known = Acknowledged(user_id, event_id, event.item_id, told.sequence, begun, tries)
        self._evaluate.acknowledged(self._name, known)
        self._acknowledged.append(known)
        if told.answer is not None:
            self._evaluate.answered(user_id, told.answer, begun)

    async def _batch(self, user_id: str) -> None:
        """Events of several users in one request; what failed is sent again."""
        begun = self.process.time()
        waiting = [
            (self._random.choice(self._users), self._event(self._new_id())) for _ in range(self._random.randint(2, 4))
        ]
        tries = 0
        while waiting:
            batch = list(waiting)
            outcomes = await self._until_told(lambda worker, batch=batch: worker.recommender.record_batch(batch))
            if outcomes is None:
                return
            tries += self._tries
            waiting = []
            for (user, event), outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, ServiceError) and not isinstance(outcome, SAID_NO):
                    waiting.append((user, event))
            if waiting and len(waiting) < len(batch):
                self._evaluate.count("batches refused in part")
            self._told_batch(batch, outcomes, begun, tries)

    def _told_batch(self, batch: list[tuple[str, NewEvent]], outcomes: list[Any], begun: float, tries: int) -> None:
        # One user's events are one visit, so what a batch says of them is in their order.
        for (user, event), outcome in zip(batch, outcomes, strict=True):
            if not isinstance(outcome, ServiceError) or isinstance(outcome, SAID_NO):
                self._told(user, event, outcome, begun, tries)

    async def _ask(self, user_id: str) -> None:
        begun = self.process.time()
        answer = await self._until_told(lambda worker: _recommend(worker, user_id))
        if answer is not None:
            self._evaluate.answered(user_id, answer, begun)

    async def _repeat(self, user_id: str) -> None:
        """Send once more what was acknowledged."""
        named = [known for known in self._acknowledged if not known.event_id.startswith("seq-")]
        if named:
            known = self._random.choice(named)
            self._evaluate.sent_again.add(known.event_id)
            event = self._event(known.event_id, known.item_id)
            told = await self._until_told(lambda worker: _record(worker, known.user_id, event, None))
            if told is not None:
                self._evaluate.repeated(known, told)

    async def _contradict(self, user_id: str) -> None:
        """Use an id again for something else; it has to be refused as long as the first is kept."""
        named = [known for known in self._acknowledged if not known.event_id.startswith("seq-")]
        if named:
            known = self._random.choice(named)
            self._evaluate.sent_again.add(known.event_id)
            event = self._event(known.event_id, "another")
            told = await self._until_told(lambda worker: _record(worker, known.user_id, event, None))
            if isinstance(told, EventConflict):
                self._evaluate.count("conflicts")
            elif told is not None:
                self._evaluate.repeated(known, told)
                self._acknowledged.remove(known)

    async def _delete_event(self, user_id: str) -> None:
        if self._acknowledged and self._random.random() < 0.5:
            known = self._acknowledged.pop(self._random.randrange(len(self._acknowledged)))
            await self._until_told(lambda worker: worker.recommender.delete_event(known.user_id, known.event_id))

    async def _delete_user(self, user_id: str) -> None:
        await self._until_told(lambda worker: worker.recommender.delete_user(user_id))

    async def _merge(self, user_id: str) -> None:
        """The visitor signs in; what was theirs is not sent again."""
        *shared, visitor = self._users
        self._acknowledged = [known for known in self._acknowledged if known.user_id != visitor]
        into = self._random.choice(shared)
        await self._until_told(lambda worker: worker.recommender.merge_user(into, visitor))

    async def _list(self, user_id: str) -> None:
        begun = self.process.time()
        history = await self._until_told(lambda worker: worker.recommender.history(user_id, None, 1000))
        if history is not None and not isinstance(history, UserNotFound):
            self._evaluate.listed(user_id, history, begun)

    async def _audit(self, user_id: str) -> None:
        audit = await self._until_told(lambda worker: worker.recommender.audit(user_id))
        if audit is None or isinstance(audit, UserNotFound) or audit.snapshot != "found":
            return
        self._evaluate.count("audits of a memo")
        if audit.exact and audit.max_relative_error != 0.0:
            self._evaluate.accuse(f"wrong memo: {user_id} up to {audit.applied} differs from the log")


async def _record(worker: Worker, user_id: str, event: NewEvent, ask: TopK | None) -> Recorded:
    served = [engine.version for engine in worker.models.served]
    told = await worker.recommender.record(user_id, event, ask)
    assert told.answer is None or told.answer.model_version in served
    return told


async def _recommend(worker: Worker, user_id: str) -> Answer:
    served = [engine.version for engine in worker.models.served]
    answer = await worker.recommender.recommend(user_id, ASK)
    assert answer.model_version in served
    return answer
