"""An import floods the engine with folds that nobody waits for, and those who ask are served all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.core.engine_requests import EngineResult, TopK
from service.core.events import AppendAndRead, LogView, NewEvent
from service.core.ports import EngineJob
from service.core.recommending.batching import MicroBatcher
from service.core.recommending.recommender import Recommender
from service.core.recommending.snapshot_writer import SnapshotWriter
from tests.core.fakes import (
    FakeEngine,
    FakeModels,
    MemoryStore,
    NoMeter,
    SilentMeter,
    append_and_read_one,
    similar_one,
)

QUEUE = 64
BATCH = 8
ASK = TopK(1, False)


def test_who_asks_is_not_refused_and_not_kept_waiting_while_imports_flood() -> None:
    asked_in_batch: list[int] = []  # in the order in which the batches began
    begun_at_ask: list[int] = []

    async def run(jobs: Sequence[EngineJob]) -> list[EngineResult | Exception]:
        asked_in_batch.append(sum(request.ask is not None for _, request in jobs))
        await asyncio.sleep(0.001)
        return [engine.run([request])[0] for engine, request in jobs]

    async def scenario() -> None:
        store, meter = MemoryStore(), SilentMeter()

        async def append_and_read(request: AppendAndRead, deadline: float) -> LogView:
            return await append_and_read_one(store, request)

        requests: MicroBatcher[EngineJob, EngineResult] = MicroBatcher(
            run, max_batch=BATCH, max_queue=QUEUE, meter=NoMeter()
        )

        async def fold(job: EngineJob, deadline: float) -> EngineResult:
            begun_at_ask.append(len(asked_in_batch))
            return await requests.submit(job, deadline)

        recommender = Recommender(
            store,
            FakeModels(FakeEngine()),
            SnapshotWriter(store, max_waiting=1000),
            meter,
            append_and_read=append_and_read,
            fold=fold,
            fold_aside=requests.submit_aside,
            similar=similar_one,
        )
        event = NewEvent.create("10", None, None, now=1.0)
        for wave in range(3):
            await recommender.record_batch([(f"{wave}-{number}", event) for number in range(10 * QUEUE)])
        await asyncio.sleep(0)  # the folds of the import stand in the queue, or were given up
        answers = await asyncio.gather(*(recommender.recommend(f"0-{number}", ASK) for number in range(QUEUE)))
        assert [answer.items[0].item_id for answer in answers] == ["10"] * QUEUE
        # One batch was under way when the asks were queued; the next ones are theirs, and the import's come after.
        [begun] = set(begun_at_ask)
        ended = begun + QUEUE // BATCH
        assert asked_in_batch[begun:ended] == [BATCH] * (QUEUE // BATCH)
        await recommender.close()
        assert asked_in_batch[ended:] == [0] * len(asked_in_batch[ended:]) != []
        # What was given up is folded by who asks next.
        assert (await recommender.recommend("2-639", ASK)).items[0].item_id == "10"
        await recommender.close()

    asyncio.run(scenario())
