"""The use cases over an in-memory log and a fake engine: every answer is the fold of the committed events."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest

from service.core.answer import Recorded
from service.core.errors import (
    DeadlineExceeded,
    EventConflict,
    EventNotFound,
    Overloaded,
    ServiceError,
    StoreUnavailable,
    UserNotFound,
)
from service.core.events import NewEvent, Snapshot, Visit
from service.core.memo import Memo, decode_memo, encode_memo
from service.core.memo_writer import MemoWriter
from service.core.ports import EngineJob, Folded, Rank, SilentMeter, StateDamaged, TopK, Turn
from service.core.recommender import Recommender
from service.core.seldom import SeldomWarnings
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


def test_the_answer_reflects_the_event_and_the_memo_follows() -> None:
    async def scenario(house: House) -> None:
        first = await house.recommender.record("u", event("10"), ASK)
        assert (first.sequence, first.duplicate, first.known_item) == (1, False, True)
        assert first.answer is not None and {item.item_id for item in first.answer.items} == {"9", "11", "12"}
        second = await house.recommender.record("u", event("no such item"), ASK)
        assert (second.sequence, second.known_item) == (2, False)

    house = run(scenario)
    memo = stored(house)
    assert (memo.applied, json.loads(memo.state)) == (2, ["10"])


def test_a_memo_is_written_at_first_and_then_for_every_second_event() -> None:
    async def scenario(house: House) -> None:
        applied = []
        for n in range(1, 7):
            recorded = await house.recommender.record("u", event(str(10 + n)), ASK)
            assert recorded.answer is not None
            assert recorded.answer.sequence == n
            assert str(10 + n) not in {item.item_id for item in recorded.answer.items}
            await asyncio.sleep(0.01)
            applied.append(stored(house).applied)
            answer = await house.recommender.recommend("u", ASK)
            assert answer.sequence == n
            await asyncio.sleep(0.01)
            assert stored(house).applied == applied[-1]  # a question is no reason to write one
        assert applied == [1, 1, 3, 3, 5, 5]

    run(scenario)


def test_nothing_is_folded_for_an_event_that_asks_nothing_while_the_memo_is_new_enough() -> None:
    async def scenario(house: House) -> None:
        folds = []
        for n in range(1, 5):
            await house.recommender.record("u", event(str(10 + n)), None)
            await asyncio.sleep(0.01)
            folds.append((stored(house).applied, house.engine.batches.count(1)))
        assert folds == [(1, 1), (1, 1), (3, 2), (3, 2)]

    run(scenario)


def test_an_event_without_a_question_is_folded_in_the_background() -> None:
    async def scenario(house: House) -> None:
        recorded = await house.recommender.record("u", event("10"), None)
        assert recorded.answer is None
        assert house.store.memo("u", "v1") is None

    assert stored(run(scenario)).applied == 1


def test_all_of_a_request_has_one_deadline() -> None:
    deadlines: list[float] = []

    async def scenario() -> None:
        store, engine, patience = MemoryStore(), FakeEngine(), 60.0

        async def visit(visit: Visit, deadline: float) -> Snapshot:
            deadlines.append(deadline)
            return await visit_one(store, visit)

        async def fold(job: EngineJob, deadline: float = math.inf) -> Folded:
            deadlines.append(deadline)
            raise DeadlineExceeded("too late")

        memos = MemoWriter(store, max_waiting=100)
        recommender = Recommender(
            store,
            FakeModels(engine),
            memos,
            SilentMeter(),
            visit=visit,
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
    async def scenario(house: House) -> None:
        house.overloaded = True
        recorded = await house.recommender.record("u", event("10"), ASK)
        assert (recorded.sequence, recorded.answer) == (1, None)
        await house.recommender.record("u", event("11"), None)

    assert run(scenario).store.logs["u"].sequence == 2


def test_a_fault_after_the_commit_costs_the_answer_alone(caplog: pytest.LogCaptureFixture) -> None:
    def fail(turns: Sequence[Turn]) -> list[Folded | StateDamaged]:
        raise RuntimeError("a fault of ours")

    async def scenario(house: House) -> None:
        house.engine.run = fail  # type: ignore[method-assign]
        recorded = await house.recommender.record("u", event("10"), ASK)
        assert (recorded.sequence, recorded.answer) == (1, None)

    assert run(scenario).store.logs["u"].sequence == 1
    assert "a fault of ours" in caplog.text


def test_a_fault_at_one_user_of_a_batch_is_not_the_others() -> None:
    class Faulty(MemoryStore):
        async def visit(self, visits: Sequence[Visit]) -> list[Snapshot | StoreUnavailable]:
            if visits[0].user_id == "faulty":
                raise RuntimeError("a fault of ours")
            return await super().visit(visits)

    async def scenario() -> None:
        house = build(Faulty())
        faulty, good = await house.recommender.record_batch([("faulty", event("1")), ("u", event("2"))])
        assert type(faulty) is ServiceError
        assert "ours" not in faulty.message
        assert isinstance(good, Recorded)
        await house.recommender.close()

    asyncio.run(scenario())


def test_a_store_that_is_down_is_an_error() -> None:
    async def scenario(house: House) -> None:
        house.store.down = True
        with pytest.raises(StoreUnavailable):
            await house.recommender.record("u", event("10"), ASK)

    run(scenario)


def test_retries_and_conflicts() -> None:
    async def scenario(house: House) -> None:
        await house.recommender.record("u", event("10", "e"), None)
        again = await house.recommender.record("u", event("10", "e"), ASK)
        assert (again.sequence, again.duplicate) == (1, True)
        with pytest.raises(EventConflict):
            await house.recommender.record("u", event("11", "e"), ASK)
        outcomes = await house.recommender.record_batch(
            [("u", event("11", "e")), ("w", event("1")), ("u", event("12", "f"))]
        )
        assert isinstance(outcomes[0], EventConflict)
        assert [getattr(outcome, "sequence", None) for outcome in outcomes] == [None, 1, 2]

    run(scenario)


@pytest.mark.parametrize("state", [b"no header", None])
def test_a_damaged_memo_is_rebuilt_and_repaired(state: bytes | None) -> None:
    async def scenario(house: House) -> None:
        await house.recommender.record("u", event("10"), ASK)
        await house.recommender.record("u", event("20"), ASK)
        await house.recommender.close()
        # Bytes that are no memo at all, or a memo that is whole but whose state the engine cannot read.
        blob = state or encode_memo(Memo(2, 0, b"\xff"), "u", "v1")
        house.store.damage("u", "v1", blob)
        answer = await house.recommender.recommend("u", ASK)
        assert {item.item_id for item in answer.items} == {"19", "21", "18"}

    house = run(scenario)
    assert house.meter.counts["memos_damaged"] == 1
    assert json.loads(stored(house).state) == ["10", "20"]


def test_a_damaged_memo_of_a_log_that_retention_has_emptied_is_repaired_too() -> None:
    async def scenario(house: House) -> None:
        await house.recommender.record("u", event("10"), ASK)
        await asyncio.sleep(0.01)
        house.store.logs["u"].events.clear()
        house.store.damage("u", "v1", b"no memo at all")
        for _ in range(2):
            assert (await house.recommender.recommend("u", ASK)).cold
            await asyncio.sleep(0.01)

    house = run(scenario)
    assert house.meter.counts["memos_damaged"] == 1
    assert json.loads(stored(house).state) == []


def test_a_new_model_folds_the_history_anew() -> None:
    async def scenario(house: House) -> None:
        await house.recommender.record("u", event("10"), ASK)
        await house.models.reload(None)
        answer = await house.recommender.recommend("u", ASK)
        assert (answer.model_version, answer.sequence, answer.cold) == ("v2", 1, False)

    run(scenario)


def test_in_a_test_each_user_is_answered_by_their_own_model_everywhere() -> None:
    async def scenario(house: House) -> None:
        house.models.tested, house.models.in_test = FakeEngine("v2"), {"b"}
        for user, version in (("a", "v1"), ("b", "v2")):
            recorded = await house.recommender.record(user, event("10"), ASK)
            assert recorded.answer is not None
            assert recorded.answer.model_version == version
            assert (await house.recommender.recommend(user, ASK)).model_version == version
            assert house.recommender.model_for(user).version == version
        await house.recommender.record_batch([(user, event(item)) for user in "ab" for item in ("11", "12")])
        await house.recommender.close()
        for user, version, other in (("a", "v1", "v2"), ("b", "v2", "v1")):
            assert house.store.memo(user, version) is not None
            assert house.store.memo(user, other) is None
            audit = await house.recommender.audit(user)
            assert (audit.model_version, audit.memo, audit.applied) == (version, "found", 3)
        assert (await house.recommender.recommend_for_history(("1",), ASK)).model_version == "v1"

    run(scenario)


def test_cold_starts_are_counted_and_change_nothing() -> None:
    async def scenario(house: House) -> None:
        answer = await house.recommender.recommend("nobody", Rank(("3", "x", "1")))
        assert answer.cold
        assert [item.item_id for item in answer.items] == ["1", "3", "x"]

    house = run(scenario)
    assert house.meter.counts["cold_starts"] == 1
    assert house.store.logs == {}
    assert house.store.puts == []


def test_audit_says_found_absent_and_damaged() -> None:
    async def scenario(house: House) -> None:
        with pytest.raises(UserNotFound):
            await house.recommender.audit("u")
        await house.recommender.record("u", event("10", "e"), ASK)
        assert (await house.recommender.audit("u")).memo == "absent"
        await house.recommender.close()
        found = await house.recommender.audit("u")
        assert (found.memo, found.max_relative_error, found.exact, found.kept) == ("found", 0.0, True, 1)
        house.store.damage("u", "v1", b"?")
        assert (await house.recommender.audit("u")).max_relative_error is None
        await house.recommender.delete_event("u", "e")
        with pytest.raises(EventNotFound):
            await house.recommender.delete_event("u", "e")

    run(scenario)


def test_an_edit_between_the_two_visits_of_an_audit_is_not_an_unknown_user() -> None:
    class EditedMeanwhile(MemoryStore):
        async def visit(self, visits: Sequence[Visit]) -> list[Snapshot | StoreUnavailable]:
            snapshots = await super().visit(visits)
            if visits[0].model_version is not None and not visits[0].events and "u" in self.logs:
                await self.delete_event("u", "e")
            return snapshots

    async def scenario() -> None:
        house = build(EditedMeanwhile())
        await house.recommender.record("u", event("10", "e"), None)
        await house.recommender.record("u", event("11", "f"), None)
        await house.recommender.close()
        assert (await house.recommender.audit("u")).memo == "absent"

    asyncio.run(scenario())


def test_a_batch_answers_each_event_when_the_store_is_down(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("service.core.recommender")
    monkeypatch.setattr("service.core.recommender._outages", SeldomWarnings(log))  # none held back by another test

    async def scenario(house: House) -> None:
        house.store.down = True
        outcomes = await house.recommender.record_batch([("u", event("1")), ("w", event("2"))])
        assert all(isinstance(outcome, ServiceError) for outcome in outcomes)

    run(scenario)
    assert "events of a batch refused" in caplog.text
