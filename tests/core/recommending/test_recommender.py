"""The recommender on an in-memory log and a fake engine."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence

import pytest

from service.core.engine_requests import EngineRequest, EngineResult, RankCandidates
from service.core.errors import DeadlineExceeded, EventConflict, Overloaded, ServiceError, StoreUnavailable
from service.core.events import AppendAndRead, LogView
from service.core.ports import Engine
from service.core.recommending.batching import BatchedEngine, BatchedStore
from service.core.recommending.results import Recorded
from tests.core.fakes import FakeEngine, NullBatchMeter
from tests.core.memory_store import MemoryStore
from tests.core.recommending.recommender_harness import TOP_3, RecommenderHarness, build, event, run

TIMEOUT_SECONDS = 60.0


def test_all_steps_of_a_request_share_one_deadline() -> None:
    deadlines: list[float] = []

    class WatchedStore(BatchedStore):
        async def append_and_read(self, request: AppendAndRead, deadline: float = math.inf) -> LogView:
            deadlines.append(deadline)
            return await super().append_and_read(request, deadline)

    class LateEngine(BatchedEngine):
        async def run(self, engine: Engine, request: EngineRequest, deadline: float = math.inf) -> EngineResult:
            deadlines.append(deadline)
            raise DeadlineExceeded("too late")

    async def scenario() -> None:
        store = MemoryStore()
        recommender = build(
            store,
            batched_store=WatchedStore(store, NullBatchMeter()),
            batched_engine=LateEngine(NullBatchMeter(), NullBatchMeter()),
            timeout_seconds=TIMEOUT_SECONDS,
        ).recommender
        started_at = time.monotonic()
        recorded = await recommender.record("u", event("10"), TOP_3)
        assert (recorded.sequence, recorded.answer) == (1, None)  # the event was appended in time, the answer was not
        with pytest.raises(DeadlineExceeded):
            await recommender.recommend("u", TOP_3)
        assert started_at + TIMEOUT_SECONDS <= min(deadlines) <= max(deadlines) <= time.monotonic() + TIMEOUT_SECONDS
        assert [deadlines[0], deadlines[2]] == [deadlines[1], deadlines[3]]
        assert deadlines[0] < deadlines[2]
        await recommender.record("u", event("11"), None)
        await recommender.close()
        assert len(deadlines) == 5  # the append has one; the replay in the background has none
        assert store.snapshot("u", "v1") is not None

    asyncio.run(scenario())


def test_overload_after_the_append_costs_only_the_answer() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        harness.engine.error = Overloaded("full")
        recorded = await harness.recommender.record("u", event("10"), TOP_3)
        assert (recorded.sequence, recorded.answer) == (1, None)
        await harness.recommender.record("u", event("11"), None)

    assert run(scenario).store.logs["u"].sequence == 2


def test_engine_fault_after_the_append_costs_only_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        harness.engine.error = RuntimeError("a fault of ours")
        recorded = await harness.recommender.record("u", event("10"), TOP_3)
        assert (recorded.sequence, recorded.answer) == (1, None)

    assert run(scenario).store.logs["u"].sequence == 1
    assert "a fault of ours" in caplog.text


def test_store_fault_for_one_user_does_not_fail_the_batch() -> None:
    class Faulty(MemoryStore):
        async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
            if requests[0].user_id == "faulty":
                raise RuntimeError("a fault of ours")
            return await super().append_and_read(requests)

    async def scenario() -> None:
        store = Faulty()
        # Batches of one, or the fault would be that of all users in the round trip.
        harness = build(store, batched_store=BatchedStore(store, NullBatchMeter(), max_batch=1))
        faulty, good = await harness.recommender.record_batch([("faulty", event("1")), ("u", event("2"))])
        assert type(faulty) is ServiceError
        assert "ours" not in faulty.message
        assert isinstance(good, Recorded)
        await harness.recommender.close()

    asyncio.run(scenario())


def test_unavailable_store_fails_the_request() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        harness.store.down = True
        with pytest.raises(StoreUnavailable):
            await harness.recommender.record("u", event("10"), TOP_3)

    run(scenario)


def test_retried_event_is_a_duplicate_and_a_changed_one_a_conflict() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        await harness.recommender.record("u", event("10", "e"), None)
        again = await harness.recommender.record("u", event("10", "e"), TOP_3)
        assert (again.sequence, again.duplicate) == (1, True)
        with pytest.raises(EventConflict):
            await harness.recommender.record("u", event("11", "e"), TOP_3)
        outcomes = await harness.recommender.record_batch(
            [("u", event("11", "e")), ("w", event("1")), ("u", event("12", "f"))]
        )
        assert isinstance(outcomes[0], EventConflict)
        assert [getattr(outcome, "sequence", None) for outcome in outcomes] == [None, 1, 2]

    run(scenario)


def test_ab_test_answers_each_user_with_one_model_everywhere() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        harness.models.tested, harness.models.in_test = FakeEngine("v2"), {"b"}
        for user, version in (("a", "v1"), ("b", "v2")):
            recorded = await harness.recommender.record(user, event("10"), TOP_3)
            assert recorded.answer is not None
            assert recorded.answer.model_version == version
            assert (await harness.recommender.recommend(user, TOP_3)).model_version == version
            assert (await harness.recommender.audits.snapshot(user)).model_version == version
        await harness.recommender.record_batch([(user, event(item)) for user in "ab" for item in ("11", "12")])
        await harness.recommender.close()
        for user, version, other in (("a", "v1", "v2"), ("b", "v2", "v1")):
            assert harness.store.snapshot(user, version) is not None
            assert harness.store.snapshot(user, other) is None
            audit = await harness.recommender.audits.snapshot(user)
            assert (audit.model_version, audit.snapshot, audit.applied) == (version, "found", 3)
        assert (await harness.recommender.recommend_for_history(("1",), TOP_3)).model_version == "v1"

    run(scenario)


def test_cold_start_is_counted_and_stores_nothing() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        answer = await harness.recommender.recommend("nobody", RankCandidates(("3", "x", "1")))
        assert answer.cold
        assert [item.item_id for item in answer.items] == ["1", "3", "x"]

    harness = run(scenario)
    assert harness.meter.counts["cold_starts"] == 1
    assert harness.store.logs == {}
    assert harness.store.puts == []


def test_unavailable_store_fails_each_event_of_a_batch(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        harness.store.down = True
        outcomes = await harness.recommender.record_batch([("u", event("1")), ("w", event("2"))])
        assert all(isinstance(outcome, ServiceError) for outcome in outcomes)

    run(scenario)
    assert "cannot append events of a batch" in caplog.text
