"""The use cases. Every answer is a fold of the user's committed events under one model.

visit the log (append, read memo and pending events)  ->  fold and score  ->  answer
                                                                    `->  store the memo, in the background
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence

from service.core.engine_requests import (
    EngineRequest,
    EngineResult,
    RankCandidates,
    ScoredItem,
    StateDamagedError,
    TopK,
)
from service.core.errors import EventConflict, EventNotFound, InvalidRequest, ServiceError, UserNotFound
from service.core.events import AppendAndRead, Appended, Conflict, History, LogView, Merged, NewEvent
from service.core.log_throttle import ThrottledLogger
from service.core.ports import Engine, EngineJob, Meter, Models, SimilarJob, Store
from service.core.recommending.audit import Audit, audit
from service.core.recommending.background_tasks import Background
from service.core.recommending.evaluation_sampling import Sampling, evaluated
from service.core.recommending.results import Answer, Recorded
from service.core.recommending.snapshot_writer import SnapshotWriter
from service.core.recommending.snapshots import (
    Snapshot,
    SnapshotDamagedError,
    decode_snapshot,
    next_snapshot,
    snapshot_due,
)

_log = logging.getLogger(__name__)
_outages = ThrottledLogger(_log)
_NONE = Sampling(0.0)


class Recommender:
    """Answers events and questions.

    `visit` (one `Store.visit`), `fold` (one `Engine.run`; raises `StateDamagedError`) and `similar` (one `Engine.similar`)
    are expected to batch what arrives at the same time, and not to begin what they come to only after its deadline,
    a time of `clock`: `patience` seconds after the use case began. `fold_aside` is a `fold` that gives way
    to the others. Of the events that `sampling` draws, the fold tells the meter how well the model foresaw them.
    """

    def __init__(
        self,
        store: Store,
        models: Models,
        snapshots: SnapshotWriter,
        meter: Meter,
        *,
        append_and_read: Callable[[AppendAndRead, float], Awaitable[LogView]],
        fold: Callable[[EngineJob, float], Awaitable[EngineResult]],
        fold_aside: Callable[[EngineJob], Awaitable[EngineResult]],
        similar: Callable[[SimilarJob, float], Awaitable[tuple[ScoredItem, ...]]],
        patience: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        sampling: Sampling = _NONE,
    ) -> None:
        self._store = store
        self._models = models
        self._snapshots = snapshots
        self._meter = meter
        self._append_and_read = append_and_read
        self._fold = fold
        self._fold_aside = fold_aside
        self._similar = similar
        self._timeouts = patience
        self._clock = clock
        self._sampling = sampling
        self._background = Background()

    async def record(self, user_id: str, event: NewEvent, ask: TopK | None) -> Recorded:
        """Append one event; with `ask` the answer reflects it. Raises `EventConflict`.

        Every error means that this call is not known to have appended: what fails after the commit costs the
        answer, never the acknowledgement, or a client without an event_id would send the event twice.
        """
        engine, deadline = self._models.for_user(user_id), self._deadline()
        view = await self._append_and_read(AppendAndRead(user_id, engine.version, (event,)), deadline)
        outcome = view.appended[0]
        if isinstance(outcome, Conflict):
            raise _conflict(event)
        answer = None
        if ask is None:
            self._fold_in_background(engine, user_id, view)
        else:
            try:
                answer = await self._answer(engine, user_id, view, ask, deadline)
            except ServiceError as error:
                _outages.warn(error.code, "event stored, recommendations given up", reason=error.for_log)
            except Exception:
                _log.exception("event stored, recommendations failed")
        return Recorded(outcome.sequence, outcome.duplicate, engine.knows(event.item_id), answer)

    async def record_batch(self, events: Sequence[tuple[str, NewEvent]]) -> list[Recorded | ServiceError]:
        """Append `(user_id, event)` pairs, each user's in the order given; one outcome for each, in order.

        A fault at one user's events is the outcome of these alone: the others may be in the log.
        """
        deadline = self._deadline()
        by_user: dict[str, list[int]] = {}
        for position, (user_id, _) in enumerate(events):
            by_user.setdefault(user_id, []).append(position)
        engines = [self._models.for_user(user_id) for user_id in by_user]
        visits = [
            self._append_and_read(
                AppendAndRead(user_id, engine.version, tuple(events[p][1] for p in positions)), deadline
            )
            for (user_id, positions), engine in zip(by_user.items(), engines, strict=True)
        ]
        outcomes: list[Recorded | ServiceError] = [ServiceError("not reached")] * len(events)
        for (user_id, positions), engine, view in zip(
            by_user.items(), engines, await asyncio.gather(*visits, return_exceptions=True), strict=True
        ):
            if isinstance(view, Exception):
                for position in positions:
                    outcomes[position] = _failure(view)
                continue
            if isinstance(view, BaseException):
                raise view
            for position, outcome in zip(positions, view.appended, strict=True):
                outcomes[position] = _recorded(engine, events[position][1], outcome)
            self._fold_in_background(engine, user_id, view)
        return outcomes

    async def recommend(self, user_id: str, ask: TopK | RankCandidates) -> Answer:
        """Answer from the user's history; a user without one gets what the model says of a new history."""
        engine, deadline = self._models.for_user(user_id), self._deadline()
        view = await self._append_and_read(AppendAndRead(user_id, engine.version), deadline)
        return await self._answer(engine, user_id, view, ask, deadline)

    async def recommend_for_history(self, history: Sequence[str], ask: TopK) -> Answer:
        """Answer from `history`, oldest first, without touching the log."""
        engine = self._models.live
        result = await self._fold((engine, EngineRequest(None, tuple(history), ask)), self._deadline())
        return Answer(engine.version, len(history), result.cold, result.items)

    async def similar(self, item_id: str, k: int) -> tuple[str, tuple[ScoredItem, ...]]:
        """The model's version and the `k` items nearest to `item_id`; raises `ItemNotFound`."""
        engine = self._models.live
        return engine.version, await self._similar((engine, item_id, k), self._deadline())

    def model_for(self, user_id: str) -> Engine:
        """The model that answers this user."""
        return self._models.for_user(user_id)

    async def history(self, user_id: str, before: int | None, limit: int) -> History:
        """A page of the user's kept events; raises `UserNotFound`."""
        history = await self._store.history(user_id, before, limit)
        if history is None:
            raise UserNotFound("no events are known for this user")
        return history

    async def audit(self, user_id: str) -> Audit:
        """Fold the kept events anew and compare with the stored memo; raises `UserNotFound`."""
        engine = self._models.for_user(user_id)
        return await audit(engine, user_id, self._meter, self._append_and_read, self._fold, self._deadline())

    async def delete_user(self, user_id: str) -> int:
        """Remove everything about the user, less what a merge has yet to bring; the number of events removed."""
        return await self._store.delete_user(user_id)

    async def merge_user(self, user_id: str, from_user_id: str) -> Merged:
        """Move another user's events into the log of `user_id`, in order of time; raises `UserNotFound`."""
        if user_id == from_user_id:
            problem: dict[str, object] = {"field": "from_user_id", "problem": "must be another user than in the path"}
            raise InvalidRequest("a user cannot be merged into itself", details=[problem])
        merged = await self._store.merge(user_id, from_user_id)
        if merged is None:
            raise UserNotFound("no events are known for the user to merge")
        return merged

    async def delete_event(self, user_id: str, event_id: str) -> None:
        """Remove one event as if it had never been; raises `EventNotFound`."""
        if not await self._store.delete_event(user_id, event_id):
            raise EventNotFound("the user's log keeps no event of this id")

    async def close(self) -> None:
        """Return when background folds and memo writes are through."""
        await self._background.close()
        await self._snapshots.close()

    def _deadline(self) -> float:
        return self._clock() + self._timeouts

    async def _answer(
        self, engine: Engine, user_id: str, view: LogView, ask: TopK | RankCandidates | None, deadline: float
    ) -> Answer:
        # Who asks nothing is not waiting.
        fold = self._fold_aside if ask is None else lambda job: self._fold(job, deadline)
        snapshot: Snapshot | None = None
        repair = False
        result: EngineResult | None = None
        sampled = self._sampling.of(user_id, view)
        if view.snapshot is not None:
            try:
                snapshot = decode_snapshot(view.snapshot, user_id, engine.version)
                result = await fold((engine, _turn(snapshot.state, engine, view, ask, sampled)))
            except (SnapshotDamagedError, StateDamagedError) as error:
                _log.warning("memo damaged, rebuilding", extra={"reason": str(error)})
                self._meter.snapshot_damaged()
                snapshot, repair = None, True
                view = await self._append_and_read(AppendAndRead(user_id, None), deadline)
        if result is None:
            result = await fold((engine, _turn(None, engine, view, ask, sampled)))
        self._meter.fold(len(view.pending))
        for place in result.ranks:
            self._meter.evaluated(engine.version, place)
        if repair or snapshot_due(view):
            self._snapshots.offer(next_snapshot(user_id, engine.version, view, snapshot, result.state, repair=repair))
        if ask is not None and result.cold:
            self._meter.cold_start()
        return Answer(engine.version, view.sequence, result.cold, result.items)

    def _fold_in_background(self, engine: Engine, user_id: str, view: LogView) -> None:
        """Fold events that nobody asked an answer for, where their memo is due or one of them is to be judged."""
        if snapshot_due(view) or self._sampling.of(user_id, view):
            self._background.start(self._answer(engine, user_id, view, None, math.inf))


def _turn(
    state: bytes | None, engine: Engine, view: LogView, ask: TopK | RankCandidates | None, sampled: frozenset[int]
) -> EngineRequest:
    items = tuple(event.item_id for event in view.pending)
    return EngineRequest(state, items, ask, evaluated(engine, view.pending, sampled))


def _failure(error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        _outages.warn(error.code, "events of a batch refused", reason=error.for_log)
        return error
    _log.error("events of a batch failed", exc_info=error)
    return ServiceError("the service failed on this event; report it with the X-Request-ID of this answer")


def _conflict(event: NewEvent) -> EventConflict:
    return EventConflict(f"event_id {event.event_id!r} was already used with another payload")


def _recorded(engine: Engine, event: NewEvent, outcome: Appended | Conflict) -> Recorded | ServiceError:
    if isinstance(outcome, Conflict):
        return _conflict(event)
    return Recorded(outcome.sequence, outcome.duplicate, engine.knows(event.item_id), None)
