"""Answers from a user's log."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

from service.core.catalogue.filter_request import FilterRequest
from service.core.engine_requests import EngineRequest, EngineResult, Query
from service.core.errors import SnapshotDamagedError, StateDamagedError
from service.core.events import AppendAndRead, LogView
from service.core.ports import Engine, Meter
from service.core.recommending.background_tasks import BackgroundTasks
from service.core.recommending.batching import BatchedEngine, BatchedStore
from service.core.recommending.eligibility import EVERYTHING, Eligibility
from service.core.recommending.evaluation_sampling import EvaluationSampler
from service.core.recommending.results import Answer
from service.core.recommending.snapshots import (
    NewItems,
    SnapshotWriter,
    decode_snapshot,
    mark_of,
    next_snapshot,
    snapshot_due,
)

_log = logging.getLogger(__name__)


class Replays:
    """Replays pending events, answers, and writes due snapshots.

    Args:
        store: The event log.
        engine: Runs the replays.
        snapshots: Writes snapshots.
        meter: Counts.
        sampler: Chooses the events that measure live accuracy.
        eligibility: Says which items may be in an answer.
        new_items: Vectors of new items.
    """

    def __init__(
        self,
        store: BatchedStore,
        engine: BatchedEngine,
        snapshots: SnapshotWriter,
        meter: Meter,
        sampler: EvaluationSampler,
        eligibility: Eligibility,
        new_items: NewItems,
    ) -> None:
        self._store = store
        self._engine = engine
        self._snapshots = snapshots
        self._meter = meter
        self._sampler = sampler
        self._eligibility = eligibility
        self._new_items = new_items
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
        asked, eligible, held = query, EVERYTHING, self._new_items.held(engine)
        if query is not None and (request is not None or not self._eligibility.catalogue.is_empty):
            eligible = await self._eligibility.of(engine.version, request)
            asked = query._replace(allowed=eligible.allowed)
        items, mark = tuple([event.item_id for event in view.pending]), None
        try:
            snapshot = None if view.snapshot is None else decode_snapshot(view.snapshot, user_id, engine.version)
            if held is not None:
                worth = await self._new_items.prepare(engine, mark_of(snapshot), items)
                if worth != "usable":
                    undone = worth == "undone"
                    return await self._replay_all(engine, user_id, view, query, deadline, request, repair=undone)
                start = held.start()
            evaluated = self._sampler.indices_to_evaluate(engine, user_id, view)
            engine_request = EngineRequest(None if snapshot is None else snapshot.state, items, asked, evaluated)
            if query is None:
                result = await self._engine.run_low_priority(engine, engine_request)
            else:
                result = await self._engine.run(engine, engine_request, deadline)
        except (SnapshotDamagedError, StateDamagedError) as error:
            if repair:
                raise
            _log.warning("snapshot damaged; replaying the whole log", extra={"reason": str(error)})
            self._meter.snapshot_damaged()
            return await self._replay_all(engine, user_id, view, query, deadline, request, repair=True)
        if held is not None:
            if held.epoch != start.epoch:  # rows of new items were given to other items meanwhile
                return await self.answer(engine, user_id, view, query, deadline, request, repair=repair)
            mark = held.mark(start, engine.extended, mark_of(snapshot), items, engine.knows)
        self._count(engine, view, query, result)
        if (repair or snapshot_due(view)) and (held is None or mark is not None):
            version, state = engine.version, result.state
            self._snapshots.offer(next_snapshot(user_id, version, view, snapshot, state, repair=repair, mark=mark))
        return Answer(engine.version, view.sequence, result.cold, result.items, eligible, getattr(query, "k", 0))

    def in_background(self, engine: Engine, user_id: str, view: LogView) -> None:
        """Replay without a query if a snapshot or evaluation is due."""
        if snapshot_due(view) or self._sampler.indices_to_evaluate(engine, user_id, view):
            self._background.start(self.answer(engine, user_id, view, None, math.inf))

    async def close(self) -> None:
        """Wait for background replays and snapshot writes."""
        await self._background.close()
        await self._snapshots.close()

    def _count(self, engine: Engine, view: LogView, query: Query | None, result: EngineResult) -> None:
        self._meter.events_replayed(len(view.pending))
        for rank in result.ranks:
            self._meter.event_evaluated(engine.version, rank)
        if query is not None and result.cold:
            self._meter.cold_start()

    async def _replay_all(
        self,
        engine: Engine,
        user_id: str,
        view: LogView,
        query: Query | None,
        deadline: float,
        request: FilterRequest | None,
        *,
        repair: bool,
    ) -> Answer:
        """Answer from all kept events, without the snapshot."""
        whole = await self._store.append_and_read(AppendAndRead(user_id, None), deadline)
        view = replace(whole, appended=view.appended)
        return await self.answer(engine, user_id, view, query, deadline, request, repair=repair)
