"""The recommender on an in-memory log and a fake engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.core.engine_requests import TopK
from service.core.events import NewEvent
from service.core.recommending.batching import BatchedEngine, BatchedStore
from service.core.recommending.eligibility import Eligibility
from service.core.recommending.evaluation_sampling import EvaluationSampler
from service.core.recommending.log_replay.snapshots import NewItems, Snapshot, SnapshotWriter, decode_snapshot
from service.core.recommending.recommender import Recommender
from tests.core.fakes import CountingMeter, FakeEngine, FakeModels, NullBatchMeter
from tests.core.memory_store import MemoryStore

TOP_3 = TopK(3, True)


@dataclass
class RecommenderHarness:
    store: MemoryStore
    engine: FakeEngine
    models: FakeModels
    meter: CountingMeter
    recommender: Recommender


def build(
    store: MemoryStore | None = None,
    *,
    engine: FakeEngine | None = None,
    batched_store: BatchedStore | None = None,
    batched_engine: BatchedEngine | None = None,
    sampler: EvaluationSampler | None = None,
    eligibility: Eligibility | None = None,
    timeout_seconds: float = 60.0,
    new_items: NewItems | None = None,
) -> RecommenderHarness:
    store, engine, meter = store or MemoryStore(), engine or FakeEngine(), CountingMeter()
    models = FakeModels(engine)
    recommender = Recommender(
        store,
        batched_store or BatchedStore(store, NullBatchMeter()),
        batched_engine or BatchedEngine(NullBatchMeter(), NullBatchMeter()),
        models,
        SnapshotWriter(store, max_queue=1000),
        meter,
        timeout_seconds=timeout_seconds,
        sampler=sampler,
        eligibility=eligibility,
        new_items=new_items,
    )
    return RecommenderHarness(store, engine, models, meter, recommender)


def run(scenario: Callable[[RecommenderHarness], Awaitable[None]]) -> RecommenderHarness:
    """Run `scenario` on a new harness, then finish its background work."""
    harness = build()

    async def whole() -> None:
        await scenario(harness)
        await harness.recommender.close()

    asyncio.run(whole())
    return harness


def event(item_id: str, event_id: str | None = None) -> NewEvent:
    return NewEvent.create(item_id, None, event_id, now=1.0)


def stored(harness: RecommenderHarness, user_id: str = "u") -> Snapshot:
    blob = harness.store.snapshot(user_id, "v1")
    assert blob is not None
    return decode_snapshot(blob, user_id, "v1")
