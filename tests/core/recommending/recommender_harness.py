"""The use cases over an in-memory log and a fake engine, for the tests of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.core.errors import (
    Overloaded,
)
from service.core.events import NewEvent, Snapshot, Visit
from service.core.ports import EngineJob, Folded, SilentMeter, TopK
from service.core.recommending.recommender import Recommender
from service.core.recommending.snapshot_writer import MemoWriter
from service.core.recommending.snapshots import Memo, decode_memo
from tests.core.fakes import FakeEngine, FakeModels, MemoryStore, similar_one, visit_one

ASK = TopK(3, True)


@dataclass
class House:
    store: MemoryStore
    engine: FakeEngine
    models: FakeModels
    meter: SilentMeter
    recommender: Recommender
    overloaded: bool = False


def build(store: MemoryStore | None = None) -> House:
    store = store or MemoryStore()
    engine = FakeEngine()
    meter = SilentMeter()
    models = FakeModels(engine)

    async def visit(visit: Visit, deadline: float) -> Snapshot:
        return await visit_one(store, visit)

    async def fold(job: EngineJob, deadline: float = math.inf) -> Folded:
        await asyncio.sleep(0)
        if house.overloaded:
            raise Overloaded("full")
        result = job[0].run([job[1]])[0]
        if isinstance(result, Exception):
            raise result
        return result

    memos = MemoWriter(store, max_waiting=100)
    recommender = Recommender(
        store, models, memos, meter, visit=visit, fold=fold, fold_aside=fold, similar=similar_one
    )
    house = House(store, engine, models, meter, recommender)
    return house


def run(scenario: Callable[[House], Awaitable[None]]) -> House:
    house = build()

    async def whole() -> None:
        await scenario(house)
        await house.recommender.close()

    asyncio.run(whole())
    return house


def event(item_id: str, event_id: str | None = None) -> NewEvent:
    return NewEvent.create(item_id, None, event_id, now=1.0)


def stored(house: House, user_id: str = "u") -> Memo:
    blob = house.store.memo(user_id, "v1")
    assert blob is not None
    return decode_memo(blob, user_id, "v1")
