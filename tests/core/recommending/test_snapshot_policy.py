"""When the use cases write a memo, what they do with one that is damaged, and its audit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest

from service.core.errors import (
    EventNotFound,
    StoreUnavailable,
    UserNotFound,
)
from service.core.events import AppendAndRead, LogView
from service.core.recommending.snapshots import Snapshot, encode_snapshot
from tests.core.fakes import MemoryStore
from tests.core.recommending.recommender_harness import ASK, RecommenderHarness, build, event, run, stored


def test_the_answer_reflects_the_event_and_the_memo_follows() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        first = await harness.recommender.record("u", event("10"), ASK)
        assert (first.sequence, first.duplicate, first.known_item) == (1, False, True)
        assert first.answer is not None and {item.item_id for item in first.answer.items} == {"9", "11", "12"}
        second = await harness.recommender.record("u", event("no such item"), ASK)
        assert (second.sequence, second.known_item) == (2, False)

    harness = run(scenario)
    snapshot = stored(harness)
    assert (snapshot.applied, json.loads(snapshot.state)) == (2, ["10"])


def test_a_memo_is_written_at_first_and_then_for_every_second_event() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        applied = []
        for n in range(1, 7):
            recorded = await harness.recommender.record("u", event(str(10 + n)), ASK)
            assert recorded.answer is not None
            assert recorded.answer.sequence == n
            assert str(10 + n) not in {item.item_id for item in recorded.answer.items}
            await asyncio.sleep(0.01)
            applied.append(stored(harness).applied)
            answer = await harness.recommender.recommend("u", ASK)
            assert answer.sequence == n
            await asyncio.sleep(0.01)
            assert stored(harness).applied == applied[-1]  # a question is no reason to write one
        assert applied == [1, 1, 3, 3, 5, 5]

    run(scenario)


def test_nothing_is_folded_for_an_event_that_asks_nothing_while_the_memo_is_new_enough() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        folds = []
        for n in range(1, 5):
            await harness.recommender.record("u", event(str(10 + n)), None)
            await asyncio.sleep(0.01)
            folds.append((stored(harness).applied, harness.engine.batches.count(1)))
        assert folds == [(1, 1), (1, 1), (3, 2), (3, 2)]

    run(scenario)


def test_an_event_without_a_question_is_folded_in_the_background() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        recorded = await harness.recommender.record("u", event("10"), None)
        assert recorded.answer is None
        assert harness.store.snapshot("u", "v1") is None

    assert stored(run(scenario)).applied == 1


@pytest.mark.parametrize("state", [b"no header", None])
def test_a_damaged_memo_is_rebuilt_and_repaired(state: bytes | None) -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        await harness.recommender.record("u", event("10"), ASK)
        await harness.recommender.record("u", event("20"), ASK)
        await harness.recommender.close()
        # Bytes that are no memo at all, or a memo that is whole but whose state the engine cannot read.
        blob = state or encode_snapshot(Snapshot(2, 0, b"\xff"), "u", "v1")
        harness.store.damage("u", "v1", blob)
        answer = await harness.recommender.recommend("u", ASK)
        assert {item.item_id for item in answer.items} == {"19", "21", "18"}

    harness = run(scenario)
    assert harness.meter.counts["snapshots_damaged"] == 1
    assert json.loads(stored(harness).state) == ["10", "20"]


def test_a_damaged_memo_of_a_log_that_retention_has_emptied_is_repaired_too() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        await harness.recommender.record("u", event("10"), ASK)
        await asyncio.sleep(0.01)
        harness.store.logs["u"].events.clear()
        harness.store.damage("u", "v1", b"no memo at all")
        for _ in range(2):
            assert (await harness.recommender.recommend("u", ASK)).cold
            await asyncio.sleep(0.01)

    harness = run(scenario)
    assert harness.meter.counts["snapshots_damaged"] == 1
    assert json.loads(stored(harness).state) == []


def test_a_new_model_folds_the_history_anew() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        await harness.recommender.record("u", event("10"), ASK)
        await harness.models.reload(None)
        answer = await harness.recommender.recommend("u", ASK)
        assert (answer.model_version, answer.sequence, answer.cold) == ("v2", 1, False)

    run(scenario)


def test_audit_says_found_absent_and_damaged() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        with pytest.raises(UserNotFound):
            await harness.recommender.audit("u")
        await harness.recommender.record("u", event("10", "e"), ASK)
        assert (await harness.recommender.audit("u")).snapshot == "absent"
        await harness.recommender.close()
        found = await harness.recommender.audit("u")
        assert (found.snapshot, found.max_relative_error, found.exact, found.kept) == ("found", 0.0, True, 1)
        harness.store.damage("u", "v1", b"?")
        assert (await harness.recommender.audit("u")).max_relative_error is None
        await harness.recommender.delete_event("u", "e")
        with pytest.raises(EventNotFound):
            await harness.recommender.delete_event("u", "e")

    run(scenario)


def test_an_edit_between_the_two_visits_of_an_audit_is_not_an_unknown_user() -> None:
    class EditedMeanwhile(MemoryStore):
        async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
            views = await super().append_and_read(requests)
            if requests[0].model_version is not None and not requests[0].events and "u" in self.logs:
                await self.delete_event("u", "e")
            return views

    async def scenario() -> None:
        harness = build(EditedMeanwhile())
        await harness.recommender.record("u", event("10", "e"), None)
        await harness.recommender.record("u", event("11", "f"), None)
        await harness.recommender.close()
        assert (await harness.recommender.audit("u")).snapshot == "absent"

    asyncio.run(scenario())
