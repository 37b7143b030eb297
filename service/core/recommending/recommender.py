"""Use cases: record events, recommend items, read and edit a user's log.

Steps of a request:

    BatchedStore.append_and_read    append the events, and read the user's log
    BatchedEngine.run               replay the pending events, and answer the query
    SnapshotWriter.offer            store the new state, after the answer was sent

Every answer is the replay of the user's appended events under one model.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

from service.core.attribution.attribution import Attribution
from service.core.catalogue.filter_request import FilterRequest
from service.core.engine_requests import EngineRequest, Query, TopK
from service.core.errors import EventNotFound, InvalidRequest, ServiceError, UserNotFound
from service.core.events import AppendAndRead, Conflict, History, Merged, NewEvent
from service.core.log_throttle import ThrottledLogger
from service.core.ports import Engine, Meter, Models, Store
from service.core.recommending.audit.audits import Audits
from service.core.recommending.batching import BatchedEngine, BatchedStore
from service.core.recommending.bulk_append import MAX_USERS_AT_ONCE, BulkAppend, conflict
from service.core.recommending.eligibility import Eligibility
from service.core.recommending.evaluation_sampling import EvaluationSampler
from service.core.recommending.heavy_work import HEAVY_MERGES
from service.core.recommending.log_replay.snapshots import NewItems, NoNewItems, SnapshotWriter
from service.core.recommending.replays import Replays
from service.core.recommending.results import Answer, Recorded

_log = logging.getLogger(__name__)


class Recommender:
    """Records events and answers queries.

    Args:
        store: The event log, for calls that are not batched.
        timeout_seconds: Time from the start of a use case until its queued work is dropped.
        sampler: Chooses the events that measure live accuracy.
        eligibility: Says which items may be in an answer; None: all.
        new_items: Vectors of new items; None: no model has an encoder.
        attribution: Issues the ids of answers; None: they have none.
        clock: Seconds; the clock of both batchers' deadlines.
    """

    def __init__(
        self,
        store: Store,
        batched_store: BatchedStore,
        batched_engine: BatchedEngine,
        models: Models,
        snapshots: SnapshotWriter,
        meter: Meter,
        *,
        timeout_seconds: float = math.inf,
        sampler: EvaluationSampler | None = None,
        eligibility: Eligibility | None = None,
        new_items: NewItems | None = None,
        attribution: Attribution | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._batched_store = batched_store
        self._batched_engine = batched_engine
        self._models = models
        self._timeout_seconds = timeout_seconds
        self.eligibility = eligibility or Eligibility()
        self.attribution = attribution
        self._clock = clock
        self._throttled_log = ThrottledLogger(_log)
        vectors = new_items or NoNewItems()
        self.audits = Audits(batched_store, batched_engine, models, meter, lambda: clock() + timeout_seconds, vectors)
        self._replays = Replays(
            store,
            batched_store,
            batched_engine,
            snapshots,
            meter,
            sampler or EvaluationSampler(0.0),
            self.eligibility,
            vectors,
            attribution,
        )
        self._bulk = BulkAppend(batched_store, self._throttled_log, timeout_seconds, clock)

    async def record(
        self, user_id: str, event: NewEvent, query: TopK | None, request: FilterRequest | None = None
    ) -> Recorded:
        """Append one event, and answer the query if there is one.

        A failure after the append costs only the answer: if the request failed, a client without an `event_id`
        would send the event twice. The filter is checked before. Raises `EventConflict` or `InvalidRequest`.
        """
        engine, deadline = self._models.for_user(user_id), self._clock() + self._timeout_seconds
        if request is not None:
            await self.eligibility.of(engine.version, request)
        view = await self._batched_store.append_and_read(AppendAndRead(user_id, engine.version, (event,)), deadline)
        outcome = view.appended[0]
        if isinstance(outcome, Conflict):
            raise conflict(event)
        answer = None
        if query is None:
            self._replays.in_background(engine, user_id, view)
        else:
            try:
                answer = await self._replays.answer(engine, user_id, view, query, deadline, request)
            except ServiceError as error:
                self._throttled_log.warn(error.code, "event appended without recommendations", reason=error.for_log)
            except Exception:
                _log.exception("event appended without recommendations")
        return Recorded(outcome.sequence, outcome.duplicate, engine.knows(event.item_id), answer)

    async def record_batch(self, events: Sequence[tuple[str, NewEvent]]) -> list[Recorded | ServiceError]:
        """Append `(user_id, event)` pairs and return one outcome each, in order.

        Each user's events are appended in order, up to MAX_EVENTS_PER_APPEND at once. A failed append is the outcome
        of its events and of that user's later ones.
        """
        by_user: dict[str, list[int]] = {}
        for index, (user_id, _) in enumerate(events):
            by_user.setdefault(user_id, []).append(index)
        outcomes: dict[int, Recorded | ServiceError] = {}
        users = iter(by_user.items())

        async def append_users() -> None:
            for user_id, indices in users:
                engine, new = self._models.for_user(user_id), [events[index][1] for index in indices]
                found, view = await self._bulk.append(engine, user_id, new)
                outcomes.update(zip(indices, found, strict=True))
                if view is not None:
                    self._replays.in_background(engine, user_id, view)

        await asyncio.gather(*[append_users() for _ in range(min(len(by_user), MAX_USERS_AT_ONCE))])
        return [outcomes[index] for index in range(len(events))]

    def engine_of(self, user_id: str | None) -> Engine:
        """Return the engine of the user, or of anonymous questions."""
        return self._models.live if user_id is None else self._models.for_user(user_id)

    async def recommend(self, user_id: str, query: Query, request: FilterRequest | None = None) -> Answer:
        """Answer from the user's log; an unknown user counts as new."""
        engine, deadline = self._models.for_user(user_id), self._clock() + self._timeout_seconds
        view = await self._batched_store.append_and_read(AppendAndRead(user_id, engine.version), deadline)
        return await self._replays.answer(engine, user_id, view, query, deadline, request)

    async def recommend_for_history(
        self, history: Sequence[str], query: TopK, request: FilterRequest | None = None
    ) -> Answer:
        """Answer from `history` (item ids, oldest first) without the log."""
        engine, deadline = self._models.live, self._clock() + self._timeout_seconds
        eligible = await self.eligibility.of(engine.version, request)
        asked = EngineRequest(None, tuple(history), query._replace(allowed=eligible.allowed))
        result = await self._batched_engine.run(engine, asked, deadline)
        return self._named(Answer(engine.version, len(history), result.cold, result.items, eligible, query.k))

    async def similar(self, item_id: str, query: TopK, request: FilterRequest | None = None) -> Answer:
        """Find the nearest items; raises `ItemNotFound`."""
        engine, deadline = self._models.live, self._clock() + self._timeout_seconds
        eligible = await self.eligibility.of(engine.version, request)
        items = await self._batched_engine.similar(engine, item_id, query._replace(allowed=eligible[0]), deadline)
        return self._named(Answer(engine.version, 0, False, items, eligible, query.k))

    async def history(self, user_id: str, before: int | None, limit: int) -> History:
        """Read a page of the user's log; raises `UserNotFound`."""
        history = await self._store.history(user_id, before, limit)
        if history is None:
            raise UserNotFound("no events are known for this user")
        return history

    async def delete_user(self, user_id: str) -> int:
        """Delete the user's log and snapshots; see `Store.delete_user`."""
        return await self._store.delete_user(user_id)

    async def merge_user(self, user_id: str, from_user_id: str) -> Merged:
        """Move another user's events into the log of `user_id`; raises `UserNotFound`."""
        if user_id == from_user_id:
            problem: dict[str, object] = {"field": "from_user_id", "problem": "must be another user than in the path"}
            raise InvalidRequest("a user cannot be merged into itself", details=[problem])
        merged = await HEAVY_MERGES.run(lambda: self._store.merge(user_id, from_user_id), self._timeout_seconds)
        if merged is None:
            raise UserNotFound("no events are known for the user to merge")
        return merged

    async def delete_event(self, user_id: str, event_id: str) -> None:
        """Delete one event from the user's log; raises `EventNotFound`."""
        if not await self._store.delete_event(user_id, event_id):
            raise EventNotFound("the user's log keeps no event of this id")

    async def close(self) -> None:
        """Wait for background replays and snapshot writes."""
        await self._replays.close()

    def _named(self, answer: Answer) -> Answer:
        """Return the answer with its recommendation id, if ids are configured."""
        if self.attribution is None:
            return answer
        version, revision = answer.model_version, answer.eligible.revision
        return answer._replace(recommendation_id=self.attribution.id_of_answer(version, answer.items, revision))
