"""Answers from a user's log, and the snapshots of their replays."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Container, Sequence
from dataclasses import replace

from service.core.attribution.attribution import Attribution
from service.core.catalogue.filter_request import FilterRequest
from service.core.engine_requests import EngineResult, Query
from service.core.errors import SnapshotDamagedError, StateDamagedError
from service.core.event_types.exclusions import items_with_events
from service.core.events import AppendAndRead, Event, LogView
from service.core.ports import Engine, Meter, Store
from service.core.recommending.background_tasks import BackgroundTasks
from service.core.recommending.batching import BatchedEngine, BatchedStore
from service.core.recommending.eligibility import EVERYTHING, Eligibility, Eligible
from service.core.recommending.evaluation_sampling import EvaluationSampler
from service.core.recommending.log_replay.snapshots import NewItems, SnapshotWriter, mark_of, snapshot_due
from service.core.recommending.log_replay.user_replay import UserReplay
from service.core.recommending.results import Answer

_log = logging.getLogger(__name__)

EVENTS_AT_ONCE = 500  # of a whole log; their decoding holds the event loop for a millisecond


class Replays:
    """Replays pending events, answers, and writes due snapshots.

    Args:
        log: The event log, for reads that are not batched.
        store: The event log.
        engine: Runs the replays.
        snapshots: Writes snapshots.
        meter: Counts.
        sampler: Chooses the events that measure live accuracy.
        eligibility: Says which items may be in an answer.
        new_items: Vectors of new items.
        attribution: Issues the ids of answers; None: they have none.
    """

    def __init__(
        self,
        log: Store,
        store: BatchedStore,
        engine: BatchedEngine,
        snapshots: SnapshotWriter,
        meter: Meter,
        sampler: EvaluationSampler,
        eligibility: Eligibility,
        new_items: NewItems,
        attribution: Attribution | None = None,
    ) -> None:
        self._log = log
        self._store = store
        self._engine = engine
        self._snapshots = snapshots
        self._meter = meter
        self._sampler = sampler
        self._eligibility = eligibility
        self._new_items = new_items
        self._attribution = attribution
        self._background = BackgroundTasks()

    async def answer(
        self,
        engine: Engine,
        user_id: str,
        view: LogView,
        query: Query | None,
        deadline: float,
        request: FilterRequest | None = None,
        *,
        repair: bool = False,
    ) -> Answer:
        """Replay the pending events, answer, and write a due snapshot.

        Without a query no client waits. With `repair` the stored snapshot is damaged, and `view` is the whole log.
        """
        asked, eligible = query, EVERYTHING
        if query is not None:
            if request is not None or not self._eligibility.catalogue.is_empty:
                eligible = await self._eligibility.of(engine.version, request)
                asked = query._replace(allowed=eligible.allowed)
            if query.exclude_events:
                asked, eligible = await self._without_events(user_id, view, asked or query, eligible)
        try:
            replay, held = UserReplay.of(engine, user_id, view), self._new_items.lists.get(engine.version)
            if held is not None:
                worth = await self._new_items.prepare(engine, mark_of(replay.snapshot), replay.item_ids)
                if (undone := worth == "undone") or worth == "outdated":
                    return await self._answer_from_all(engine, user_id, view, query, deadline, request, undone)
                start = held.start()
            evaluated = self._sampler.indices_to_evaluate(engine, user_id, view, replay.events)
            engine_request = replay.request(asked, evaluated)
            if query is None:
                result = await self._engine.run_low_priority(engine, engine_request)
            else:
                result = await self._engine.run(engine, engine_request, deadline)
        except (SnapshotDamagedError, StateDamagedError) as error:
            if repair:
                raise
            _log.warning("snapshot damaged; replaying the whole log", extra={"reason": str(error)})
            self._meter.snapshot_damaged()
            return await self._answer_from_all(engine, user_id, view, query, deadline, request, True)
        mark = None
        if held is not None:
            if held.epoch != start.epoch:  # rows of new items were given to other items meanwhile
                return await self.answer(engine, user_id, view, query, deadline, request, repair=repair)
            mark = held.mark(start, engine.extended, mark_of(replay.snapshot), replay.item_ids, engine.knows)
        if (repair or snapshot_due(view)) and (held is None or mark is not None):
            self._snapshots.offer(replay.next_snapshot(result.state, repair=repair, mark=mark))
        new_items = {} if held is None else held.numbers
        return self._finish(engine, replay, query, evaluated, result, eligible, new_items)

    def in_background(self, engine: Engine, user_id: str, view: LogView) -> None:
        """Replay without a query if a snapshot or evaluation is due."""
        if snapshot_due(view) or self._sampler.indices_to_evaluate(engine, user_id, view, view.pending):
            self._background.start(self.answer(engine, user_id, view, None, math.inf))

    async def close(self) -> None:
        """Wait for background replays and snapshot writes."""
        await self._background.close()
        await self._snapshots.close()

    def _finish(
        self,
        engine: Engine,
        replay: UserReplay,
        query: Query | None,
        evaluated: Sequence[int],
        result: EngineResult,
        eligible: Eligible,
        new_items: Container[str],
    ) -> Answer:
        """Count the replay, and return its answer."""
        self._meter.events_replayed(len(replay.events), replay.ignored)
        for index, rank in zip(evaluated, result.ranks, strict=True):
            event = replay.events[index]
            is_new = event.item_id in new_items
            self._meter.event_evaluated(replay.model_version, rank, event.type, is_new=is_new)
        named, k, version = "", getattr(query, "k", 0), engine.version
        if query is not None:
            if result.cold:
                self._meter.cold_start()
            if self._attribution is not None:
                named = self._attribution.id_of_answer(version, result.items, eligible.revision, for_user=True)
        return Answer(version, replay.view.sequence, result.cold, result.items, eligible, k, named)

    async def _answer_from_all(
        self,
        engine: Engine,
        user_id: str,
        view: LogView,
        query: Query | None,
        deadline: float,
        request: FilterRequest | None,
        repair: bool,
    ) -> Answer:
        """Answer from all kept events, without the snapshot."""
        whole = await self._store.append_and_read(AppendAndRead(user_id, None), deadline)
        view = replace(whole, appended=view.appended)
        return await self.answer(engine, user_id, view, query, deadline, request, repair=repair)

    async def _without_events(
        self, user_id: str, view: LogView, query: Query, eligible: Eligible
    ) -> tuple[Query, Eligible]:
        """Return the query without the items of `exclude_events`.

        The second result names the time that ages count from.
        """
        evaluated_at = time.time() if eligible.evaluated_at is None else eligible.evaluated_at
        items: dict[str, None] = {}
        async for events in self._kept_events(user_id, view):
            items.update(dict.fromkeys(items_with_events(events, query.exclude_events, evaluated_at)))
        return query._replace(exclude=(*query.exclude, *items)), eligible._replace(evaluated_at=evaluated_at)

    async def _kept_events(self, user_id: str, view: LogView) -> AsyncIterator[Sequence[Event]]:
        """Read the kept events up to the view's sequence, newest page first."""
        if view.snapshot is None:
            yield view.pending
            return
        before, kept = view.sequence + 1, True
        while kept:
            history = await self._log.history(user_id, before, EVENTS_AT_ONCE)
            if kept := history is not None and len(history.events) == EVENTS_AT_ONCE:
                before = history.events[0].sequence
            if history is not None:
                yield history.events
