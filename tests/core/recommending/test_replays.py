"""Replays of events on new items, and their snapshots."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from service.core.engine_requests import EngineRequest, EngineResult
from service.core.errors import StateDamagedError
from service.core.new_items.vector_mark import VectorMark, item_hash
from service.core.new_items.vector_store import START
from service.core.recommending.evaluation_sampling import EvaluationSampler
from service.core.recommending.log_replay.snapshots import Snapshot, encode_snapshot
from tests.core.fakes import FakeEngine
from tests.core.jobs.new_items.worker import Worker, titled, worker
from tests.core.recommending.recommender_harness import TOP_3, RecommenderHarness, build, event, stored

Scenario = Callable[[RecommenderHarness, Worker], Awaitable[None]]


def run(scenario: Scenario) -> RecommenderHarness:
    """Run `scenario` with an engine that has a content encoder."""

    async def whole() -> RecommenderHarness:
        async with worker() as one:
            engine = await one.load()
            harness = build(engine=engine, new_items=one.sync)
            await scenario(harness, one)
            await harness.recommender.close()
            return harness

    return asyncio.run(whole())


def items_of(harness: RecommenderHarness) -> list[str]:
    found: list[str] = json.loads(stored(harness).state)
    return found


async def written(harness: RecommenderHarness) -> Snapshot:
    await harness.recommender.close()
    return stored(harness)


def test_event_on_a_new_item_counts() -> None:
    async def scenario(harness: RecommenderHarness, one: Worker) -> None:
        await one.put(titled("100"))
        recorded = await harness.recommender.record("u", event("100"), TOP_3)
        assert recorded.known_item
        assert recorded.answer is not None and not recorded.answer.cold
        assert (await written(harness)).mark == VectorMark(one.vectors.lists["v1"][0].position)

    assert items_of(run(scenario)) == ["100"]


def test_event_before_the_item_counts_from_its_vector_on() -> None:
    async def scenario(harness: RecommenderHarness, one: Worker) -> None:
        for item_id in ("1", "100", "2"):
            await harness.recommender.record("u", event(item_id), TOP_3)
        assert (await written(harness)).mark == VectorMark(START, (item_hash("100"),))
        assert items_of(harness) == ["1", "2"]
        await one.put(titled("100"))
        await one.sync.poll()
        answer = await harness.recommender.recommend("u", TOP_3)
        assert answer.sequence == 3
        assert (await written(harness)).mark == VectorMark(one.vectors.lists["v1"][0].position)
        assert items_of(harness) == ["1", "100", "2"]
        requests = len(harness.store.requests)
        await harness.recommender.recommend("u", TOP_3)
        assert len(harness.store.requests) == requests + 1  # the new snapshot is used

    harness = run(scenario)
    assert "snapshots_damaged" not in harness.meter.counts


def test_worker_behind_does_not_replace_a_snapshot_with_more_vectors() -> None:
    async def scenario(harness: RecommenderHarness, one: Worker) -> None:
        await harness.recommender.record("u", event("1"), TOP_3)
        await written(harness)
        [entry] = await one.vectors.append("v1", [("100", b"\0\0\x80?")])
        ahead = encode_snapshot(Snapshot(1, 0, b'["1"]', None, VectorMark(entry.position)), "u", "v1")
        harness.store.damage("u", "v1", ahead)
        one.vectors.down = True
        answer = await harness.recommender.record("u", event("2"), TOP_3)
        assert answer.answer is not None and answer.answer.sequence == 2
        assert (await written(harness)).applied == 1
        one.vectors.down = False
        await harness.recommender.record("u", event("3"), TOP_3)
        assert (await written(harness)).mark == VectorMark(entry.position)

    assert items_of(run(scenario)) == ["1", "2", "3"]


def test_snapshot_with_undone_vectors_is_replaced() -> None:
    async def scenario(harness: RecommenderHarness, one: Worker) -> None:
        await one.put(titled("100"))
        await harness.recommender.record("u", event("100"), TOP_3)
        await written(harness)
        one.vectors.lists["v1"].clear()
        await one.vectors.append("v1", [("200", b"\0\0\x80?")])
        await one.sync.poll()
        answer = await harness.recommender.recommend("u", TOP_3)
        assert answer.sequence == 1
        snapshot = await written(harness)
        assert snapshot.mark is not None and snapshot.mark.position.token != "0" * 16
        assert snapshot.mark.position.revision <= 2

    harness = run(scenario)
    assert "snapshots_damaged" not in harness.meter.counts


def test_event_on_a_new_item_is_evaluated_as_such() -> None:
    async def whole() -> list[bool]:
        async with worker() as one:
            harness = build(engine=await one.load(), new_items=one.sync, sampler=EvaluationSampler(1.0))
            await one.put(titled("100"))
            for item_id in ("1", "100"):
                await harness.recommender.record("u", event(item_id), TOP_3)
            await harness.recommender.close()
            return harness.meter.new_items

    assert asyncio.run(whole()) == [False, True]


def test_no_snapshot_is_written_if_vectors_arrive_during_the_replay() -> None:
    async def scenario(harness: RecommenderHarness, one: Worker) -> None:
        engine, plain_run = harness.engine, harness.engine.run

        def run_and_extend(requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
            found = plain_run(requests)
            engine.extend(1, [("100", np.ones(1, np.float32))])
            return found

        engine.run = run_and_extend  # type: ignore[method-assign]
        recorded = await harness.recommender.record("u", event("1"), TOP_3)
        assert recorded.answer is not None
        await harness.recommender.close()
        assert harness.store.snapshot("u", "v1") is None

    run(scenario)


def test_answer_is_computed_again_if_entries_were_undone_during_the_replay() -> None:
    async def scenario(harness: RecommenderHarness, one: Worker) -> None:
        held = one.sync.held(harness.engine)
        assert held is not None
        engine, plain_run = harness.engine, harness.engine.run

        def run_and_undo(requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
            engine.run = plain_run  # type: ignore[method-assign]
            held.clear()
            return plain_run(requests)

        engine.run = run_and_undo  # type: ignore[method-assign]
        recorded = await harness.recommender.record("u", event("1"), TOP_3)
        assert recorded.answer is not None
        assert len(engine.batches) == 2

    run(scenario)


def test_damaged_state_of_a_model_with_an_encoder_is_replaced() -> None:
    async def scenario(harness: RecommenderHarness, one: Worker) -> None:
        await harness.recommender.record("u", event("1"), TOP_3)
        mark = (await written(harness)).mark
        harness.store.damage("u", "v1", encode_snapshot(Snapshot(1, 0, b"\xff", None, mark), "u", "v1"))
        await harness.recommender.recommend("u", TOP_3)

    harness = run(scenario)
    assert items_of(harness) == ["1"]
    assert harness.meter.counts["snapshots_damaged"] == 1


def test_model_without_an_encoder_writes_snapshots_without_a_mark() -> None:
    async def whole() -> RecommenderHarness:
        async with worker() as one:
            harness = build(engine=FakeEngine(), new_items=one.sync)
            await harness.recommender.record("u", event("1"), TOP_3)
            await harness.recommender.close()
            return harness

    harness = asyncio.run(whole())
    assert harness.store.snapshot("u", "v1") == encode_snapshot(Snapshot(1, 0, b'["1"]'), "u", "v1")
