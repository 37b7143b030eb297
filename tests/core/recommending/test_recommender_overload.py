"""Queries under overload by an import."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence

from service.core.engine_requests import EngineRequest, EngineResult, TopK
from service.core.errors import StateDamagedError
from service.core.ports import Engine
from service.core.recommending.batching import BatchedEngine
from tests.core.fakes import FakeEngine, NullBatchMeter
from tests.core.recommending.recommender_harness import build, event

MAX_QUEUE = 64
MAX_BATCH = 8
TOP_1 = TopK(1, False)


def test_queries_are_neither_rejected_nor_delayed_while_an_import_floods() -> None:
    queries_in_batch: list[int] = []  # in the order in which the batches started
    started_at_query: list[int] = []

    class SlowEngine(FakeEngine):
        def cost(self, requests: Sequence[EngineRequest]) -> float:
            """Count the batch, and have it run in the engine thread."""
            queries_in_batch.append(sum(request.query is not None for request in requests))
            return math.inf

        def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
            time.sleep(0.001)
            return super().run(requests)

    class CountingBatchedEngine(BatchedEngine):
        async def run(self, engine: Engine, request: EngineRequest, deadline: float = math.inf) -> EngineResult:
            started_at_query.append(len(queries_in_batch))
            return await super().run(engine, request, deadline)

    async def scenario() -> None:
        batched_engine = CountingBatchedEngine(
            NullBatchMeter(), NullBatchMeter(), max_batch=MAX_BATCH, max_queue=MAX_QUEUE
        )
        recommender = build(engine=SlowEngine(), batched_engine=batched_engine).recommender
        for wave in range(3):
            await recommender.record_batch([(f"{wave}-{n}", event("10")) for n in range(10 * MAX_QUEUE)])
        await asyncio.sleep(0)  # the replays of the import are queued or rejected now
        answers = await asyncio.gather(*(recommender.recommend(f"0-{n}", TOP_1) for n in range(MAX_QUEUE)))
        assert [answer.items[0].item_id for answer in answers] == ["10"] * MAX_QUEUE
        # One batch was running when the queries were queued. The next batches are the queries, then the import.
        [started] = set(started_at_query)
        ended = started + MAX_QUEUE // MAX_BATCH
        assert queries_in_batch[started:ended] == [MAX_BATCH] * (MAX_QUEUE // MAX_BATCH)
        await recommender.close()
        assert queries_in_batch[ended:] == [0] * len(queries_in_batch[ended:]) != []
        # The next query replays what was rejected.
        assert (await recommender.recommend("2-639", TOP_1)).items[0].item_id == "10"
        await recommender.close()
        await batched_engine.close()

    asyncio.run(scenario())
