"""The use cases over an in-memory log and a fake engine, for the tests of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.core.engine_requests import EngineResult, TopK
from service.core.errors import (
    Overloaded,
)
from service.core.events import AppendAndRead, LogView, NewEvent
from service.core.ports import EngineJob
from service.core.recommending.recommender import Recommender
from service.core.recommending.snapshot_writer import SnapshotWriter
from service.core.recommending.snapshots import Snapshot, decode_snapshot
from tests.core.fakes import FakeEngine, FakeModels, MemoryStore, SilentMeter, append_and_read_one, similar_one

ASK = TopK(3, True)


@dataclass
class RecommenderHarness:
    store: MemoryStore
    engine: FakeEngine
    models: FakeModels
    meter: SilentMeter
    recommender: Recommender
    overloaded: bool = False


def build(store: MemoryStore | None = None) -> RecommenderHarness:
    store = store or MemoryStore()
    engine = FakeEngine()
    meter = SilentMeter()
    models = FakeModels(engine)

    async def append_and_read(request: AppendAndRead, deadline: float) -> LogView:
        return await append_and_read_one(store, request)

    async def fold(job: EngineJob, deadline: float = math.inf) -> EngineResult:
        await asyncio.sleep(0)
        if harness.overloaded:
            raise Overloaded("full")
        result = job[0].run([job[1]])[0]
        if isinstance(result, Exception):
            raise result
        return result

    snapshots = SnapshotWriter(store, max_waiting=100)
    recommender = Recommender(
        store,
        models,
        snapshots,
        meter,
        append_and_read=append_and_read,
        fold=fold,
        fold_aside=fold,
        similar=similar_one,
    )
    harness = RecommenderHarness(store, engine, models, meter, recommender)
    return harness


def run(scenario: Callable[[RecommenderHarness], Awaitable[None]]) -> RecommenderHarness:
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
