"""The use cases over an in-memory log and a fake engine: every answer is the fold of the committed events."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence

import pytest

from service.core.engine_requests import EngineRequest, EngineResult, RankCandidates, StateDamagedError
from service.core.errors import (
    DeadlineExceeded,
    EventConflict,
    ServiceError,
    StoreUnavailable,
)
from service.core.events import AppendAndRead, LogView
from service.core.log_throttle import ThrottledLogger
from service.core.ports import EngineJob
from service.core.recommending.recommender import Recommender
from service.core.recommending.results import Recorded
from service.core.recommending.snapshot_writer import SnapshotWriter
from tests.core.fakes import FakeEngine, FakeModels, MemoryStore, SilentMeter, append_and_read_one, similar_one
from tests.core.recommending.recommender_harness import ASK, RecommenderHarness, build, event, run


def test_all_of_a_request_has_one_deadline() -> None:
    deadlines: list[float] = []

    async def scenario() -> None:
        store, engine, patience = MemoryStore(), FakeEngine(), 60.0

        async def append_and_read(request: AppendAndRead, deadline: float) -> LogView:
            deadlines.append(deadline)
            return await append_and_read_one(store, request)

        async def fold(job: EngineJob, deadline: float = math.inf) -> EngineResult:
            deadlines.append(deadline)
            raise DeadlineExceeded("too late")

        snapshots = SnapshotWriter(store, max_waiting=100)
        recommender = Recommender(
            store,
            FakeModels(engine),
            snapshots,
            SilentMeter(),
            append_and_read=append_and_read,
            fold=fold,
            fold_aside=fold,
            similar=similar_one,
            patience=patience,
        )
        began = time.monotonic()
        recorded = await recommender.record("u", event("10"), ASK)
        assert (recorded.sequence, recorded.answer) == (1, None)  # too late for an answer, not for the event
        with pytest.raises(DeadlineExceeded):
            await recommender.recommend("u", ASK)
        assert began + patience <= min(deadlines) <= max(deadlines) <= time.monotonic() + patience
        assert [deadlines[0], deadlines[2]] == [deadlines[1], deadlines[3]]
        assert deadlines[0] < deadlines[2]
        await recommender.record("u", event("11"), None)
        await recommender.close()
        assert deadlines[-1] == math.inf  # nobody waits for this fold

    asyncio.run(scenario())


def test_what_fails_after_the_commit_costs_the_answer_alone() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        harness.overloaded = True
        recorded = await harness.recommender.record("u", event("10"), ASK)
        assert (recorded.sequence, recorded.answer) == (1, None)
        await harness.recommender.record("u", event("11"), None)

    assert run(scenario).store.logs["u"].sequence == 2


def test_a_fault_after_the_commit_costs_the_answer_alone(caplog: pytest.LogCaptureFixture) -> None:
    def fail(requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
        raise RuntimeError("a fault of ours")

    async def scenario(harness: RecommenderHarness) -> None:
        harness.engine.run = fail  # type: ignore[method-assign]
        recorded = await harness.recommender.record("u", event("10"), ASK)
        assert (recorded.sequence, recorded.answer) == (1, None)

    assert run(scenario).store.logs["u"].sequence == 1
    assert "a fault of ours" in caplog.text


def test_a_fault_at_one_user_of_a_batch_is_not_the_others() -> None:
    class Faulty(MemoryStore):
        async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
            if requests[0].user_id == "faulty":
                raise RuntimeError("a fault of ours")
            return await super().append_and_read(requests)

    async def scenario() -> None:
        harness = build(Faulty())
        faulty, good = await harness.recommender.record_batch([("faulty", event("1")), ("u", event("2"))])
        assert type(faulty) is ServiceError
        assert "ours" not in faulty.message
        assert isinstance(good, Recorded)
        await harness.recommender.close()

    asyncio.run(scenario())


def test_a_store_that_is_down_is_an_error() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        harness.store.down = True
        with pytest.raises(StoreUnavailable):
            await harness.recommender.record("u", event("10"), ASK)

    run(scenario)


def test_retries_and_conflicts() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        await harness.recommender.record("u", event("10", "e"), None)
        again = await harness.recommender.record("u", event("10", "e"), ASK)
        assert (again.sequence, again.duplicate) == (1, True)
        with pytest.raises(EventConflict):
            await harness.recommender.record("u", event("11", "e"), ASK)
        outcomes = await harness.recommender.record_batch(
            [("u", event("11", "e")), ("w", event("1")), ("u", event("12", "f"))]
        )
        assert isinstance(outcomes[0], EventConflict)
        assert [getattr(outcome, "sequence", None) for outcome in outcomes] == [None, 1, 2]

    run(scenario)


def test_in_a_test_each_user_is_answered_by_their_own_model_everywhere() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        harness.models.tested, harness.models.in_test = FakeEngine("v2"), {"b"}
        for user, version in (("a", "v1"), ("b", "v2")):
            recorded = await harness.recommender.record(user, event("10"), ASK)
            assert recorded.answer is not None
            assert recorded.answer.model_version == version
            assert (await harness.recommender.recommend(user, ASK)).model_version == version
            assert harness.recommender.model_for(user).version == version
        await harness.recommender.record_batch([(user, event(item)) for user in "ab" for item in ("11", "12")])
        await harness.recommender.close()
        for user, version, other in (("a", "v1", "v2"), ("b", "v2", "v1")):
            assert harness.store.snapshot(user, version) is not None
            assert harness.store.snapshot(user, other) is None
            audit = await harness.recommender.audit(user)
            assert (audit.model_version, audit.snapshot, audit.applied) == (version, "found", 3)
        assert (await harness.recommender.recommend_for_history(("1",), ASK)).model_version == "v1"

    run(scenario)


def test_cold_starts_are_counted_and_change_nothing() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        answer = await harness.recommender.recommend("nobody", RankCandidates(("3", "x", "1")))
        assert answer.cold
        assert [item.item_id for item in answer.items] == ["1", "3", "x"]

    harness = run(scenario)
    assert harness.meter.counts["cold_starts"] == 1
    assert harness.store.logs == {}
    assert harness.store.puts == []


def test_a_batch_answers_each_event_when_the_store_is_down(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("service.core.recommending.recommender")
    monkeypatch.setattr(
        "service.core.recommending.recommender._outages", ThrottledLogger(log)
    )  # none held back by another test

    async def scenario(harness: RecommenderHarness) -> None:
        harness.store.down = True
        outcomes = await harness.recommender.record_batch([("u", event("1")), ("w", event("2"))])
        assert all(isinstance(outcome, ServiceError) for outcome in outcomes)

    run(scenario)
    assert "events of a batch refused" in caplog.text
