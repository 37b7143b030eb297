"""When the recommender writes and replaces snapshots."""

from __future__ import annotations

import asyncio
import json

import pytest

from service.core.recommending.log_replay.snapshots import Snapshot, encode_snapshot
from tests.core.recommending.recommender_harness import TOP_3, RecommenderHarness, event, run, stored


def test_answer_reflects_the_event_and_a_snapshot_is_written() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        first = await harness.recommender.record("u", event("10"), TOP_3)
        assert (first.sequence, first.duplicate, first.known_item) == (1, False, True)
        assert first.answer is not None and {item.item_id for item in first.answer.items} == {"9", "11", "12"}
        second = await harness.recommender.record("u", event("no such item"), TOP_3)
        assert (second.sequence, second.known_item) == (2, False)

    harness = run(scenario)
    snapshot = stored(harness)
    assert (snapshot.applied, json.loads(snapshot.state)) == (2, ["10"])


def test_snapshot_is_written_for_the_first_and_then_every_second_event() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        applied = []
        for n in range(1, 7):
            recorded = await harness.recommender.record("u", event(str(10 + n)), TOP_3)
            assert recorded.answer is not None
            assert recorded.answer.sequence == n
            assert str(10 + n) not in {item.item_id for item in recorded.answer.items}
            await asyncio.sleep(0.01)
            applied.append(stored(harness).applied)
            answer = await harness.recommender.recommend("u", TOP_3)
            assert answer.sequence == n
            await asyncio.sleep(0.01)
            assert stored(harness).applied == applied[-1]  # a query writes none
        assert applied == [1, 1, 3, 3, 5, 5]

    run(scenario)


def test_event_without_query_is_replayed_only_when_a_snapshot_is_due() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        snapshots = []
        for n in range(1, 5):
            await harness.recommender.record("u", event(str(10 + n)), None)
            await harness.recommender.close()  # wait for the replay and the snapshot
            snapshots.append((stored(harness).applied, harness.engine.batches.count(1)))
        assert snapshots == [(1, 1), (1, 1), (3, 2), (3, 2)]

    run(scenario)


def test_event_without_query_is_replayed_in_the_background() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        recorded = await harness.recommender.record("u", event("10"), None)
        assert recorded.answer is None
        assert harness.store.snapshot("u", "v1") is None

    assert stored(run(scenario)).applied == 1


@pytest.mark.parametrize("state", [b"no header", None])
def test_damaged_snapshot_is_replaced_by_a_replay_of_the_log(state: bytes | None) -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        await harness.recommender.record("u", event("10"), TOP_3)
        await harness.recommender.record("u", event("20"), TOP_3)
        await harness.recommender.close()
        # Either no snapshot at all, or a valid snapshot of a state that the engine cannot read.
        blob = state or encode_snapshot(Snapshot(2, 0, b"\xff"), "u", "v1")
        harness.store.damage("u", "v1", blob)
        answer = await harness.recommender.recommend("u", TOP_3)
        assert {item.item_id for item in answer.items} == {"19", "21", "18"}

    harness = run(scenario)
    assert harness.meter.counts["snapshots_damaged"] == 1
    assert json.loads(stored(harness).state) == ["10", "20"]


def test_damaged_snapshot_of_a_log_emptied_by_retention_is_replaced() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        await harness.recommender.record("u", event("10"), TOP_3)
        await asyncio.sleep(0.01)
        harness.store.logs["u"].events.clear()
        harness.store.damage("u", "v1", b"no snapshot")
        for _ in range(2):
            assert (await harness.recommender.recommend("u", TOP_3)).cold
            await asyncio.sleep(0.01)

    harness = run(scenario)
    assert harness.meter.counts["snapshots_damaged"] == 1
    assert json.loads(stored(harness).state) == []


def test_new_model_replays_the_whole_log() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        await harness.recommender.record("u", event("10"), TOP_3)
        await harness.models.reload(None)
        answer = await harness.recommender.recommend("u", TOP_3)
        assert (answer.model_version, answer.sequence, answer.cold) == ("v2", 1, False)

    run(scenario)
