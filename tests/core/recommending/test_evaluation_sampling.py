"""Sampling and evaluation of events."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence

import pytest

from service.core.engine_requests import TargetRank, TopK
from service.core.event_types.effects import EventTypes, TypeEffect
from service.core.events import NewEvent
from service.core.recommending.evaluation_sampling import MAX_EVALUATED, EvaluationSampler
from tests.core.fakes import FakeEngine
from tests.core.recommending.recommender_harness import TOP_3, RecommenderHarness, build, event

USERS = [f"user {n}" for n in range(40)]


def evaluated_ranks(
    scenario: Callable[[RecommenderHarness], Awaitable[None]], rate: float = 1.0
) -> list[tuple[str, TargetRank]]:
    """Run `scenario`, and return the reported model versions and ranks."""

    async def whole() -> list[tuple[str, TargetRank]]:
        harness = build(sampler=EvaluationSampler(rate))
        await scenario(harness)
        await harness.recommender.close()
        return harness.meter.ranks

    return asyncio.run(whole())


async def record(
    harness: RecommenderHarness, items: Sequence[str], query: TopK | None, user: str = "u", pause: float = 0.0
) -> None:
    for item in items:
        await harness.recommender.record(user, event(item), query)
        await asyncio.sleep(pause)


# The fake engine orders items by distance to the last one (to 0 without one), equal distances by id.
# So after 10, item 12 ranks behind 10, 11 and 9, and among the unseen items behind 11 and 9.
ITEMS = ("10", "unknown item", "12", "10")
RANKS = [TargetRank(True, 10, 10), TargetRank(False, 4, 3), TargetRank(False, 4, 0)]


@pytest.mark.parametrize("pause", [0.0, 0.01], ids=["back to back", "after the previous snapshot"])
@pytest.mark.parametrize("query", [TOP_3, None], ids=["with a query", "in the background"])
def test_each_event_is_evaluated_once_under_the_state_before_it(query: TopK | None, pause: float) -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        await record(harness, ITEMS, query, pause=pause)
        await harness.recommender.recommend("u", TOP_3)

    ranks = evaluated_ranks(scenario)
    assert ranks[0] == ("v1", RANKS[0])
    assert ranks == [("v1", rank) for rank in RANKS]


def test_batch_events_are_evaluated_in_order() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        await harness.recommender.record_batch([("u", event(item)) for item in ITEMS] + [("v", event("10"))])

    assert evaluated_ranks(scenario) == [("v1", rank) for rank in (*RANKS, RANKS[0])]


@pytest.mark.parametrize("rate", [0.5, 1.0])
def test_large_batch_of_one_user_evaluates_only_the_newest_sampled_events(rate: float) -> None:
    items = [*(str(n) for n in range(1, 41)), "unknown item"]

    async def one_by_one(harness: RecommenderHarness) -> None:
        await record(harness, items, None)

    async def one_batch(harness: RecommenderHarness) -> None:
        await harness.recommender.record_batch([("u", event(item)) for item in items] + [("v", event("10"))])

    expected = evaluated_ranks(one_by_one, rate)
    assert len(expected) > MAX_EVALUATED
    other_user = [("v1", RANKS[0])] * EvaluationSampler(rate).selects("v", 1)
    assert evaluated_ranks(one_batch, rate) == expected[-MAX_EVALUATED:] + other_user


def test_retried_event_is_not_evaluated_again() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        for query in (TOP_3, TOP_3, None):
            await harness.recommender.record("u", event("10", "e1"), query)
        twice = [("u", event("12", "e2")), ("u", event("12", "e2")), ("u", event("10", "e1"))]
        await harness.recommender.record_batch(twice)
        await harness.recommender.record_batch(twice)

    assert evaluated_ranks(scenario) == [("v1", rank) for rank in RANKS[:2]]


def test_pending_events_are_evaluated_only_by_the_request_that_appended_them() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        # Without snapshots every request replays all earlier events.
        harness.store.put_error = RuntimeError("no snapshot is ever stored")
        await record(harness, ITEMS, TOP_3)

    assert evaluated_ranks(scenario) == [("v1", rank) for rank in RANKS]


def test_event_is_evaluated_once_when_the_snapshot_is_damaged() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        await record(harness, ITEMS[:2], TOP_3)
        await harness.recommender.close()
        harness.store.damage("u", "v1", b"not a snapshot")
        await record(harness, ITEMS[2:], TOP_3)

    assert evaluated_ranks(scenario) == [("v1", rank) for rank in RANKS]


def test_event_is_evaluated_by_the_model_of_its_user() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        harness.models.tested, harness.models.in_test = FakeEngine("v2"), {"v"}
        for user in ("u", "v"):
            await record(harness, ITEMS, None, user)

    ranks = evaluated_ranks(scenario)
    assert sorted(ranks) == [(version, rank) for version in ("v1", "v2") for rank in sorted(RANKS)]


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_sample_depends_on_user_and_sequence_alone(rate: float) -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        for first in range(1, 51, MAX_EVALUATED):
            batch = [(user, event(str(n))) for user in USERS for n in range(first, min(51, first + MAX_EVALUATED))]
            await harness.recommender.record_batch(batch)

    sampler = EvaluationSampler(rate)
    sampled = sum(sampler.selects(user, sequence) for user in USERS for sequence in range(1, 51))
    assert len(evaluated_ranks(scenario, rate)) == sampled
    assert abs(sampled - 2000 * rate) <= 5 * math.sqrt(2000 * rate * (1 - rate))


def test_sample_is_the_same_in_every_release_and_grows_with_the_rate() -> None:
    events = [(user, sequence) for user in USERS for sequence in range(1, 51)]
    small, large = ({pair for pair in events if EvaluationSampler(rate).selects(*pair)} for rate in (0.1, 0.5))
    assert small < large
    # Pinned: workers of two releases share a log during an upgrade.
    assert [sequence for user, sequence in sorted(small) if user == "user 0"] == [13, 23]


def test_dislike_is_no_target_and_a_purchase_is_counted_by_its_type() -> None:
    types: list[str] = []

    async def scenario(harness: RecommenderHarness) -> None:
        for number, kind in enumerate(("purchase", "dislike", "", "impression")):
            await harness.recommender.record("u", NewEvent.create("10", 1.0, f"e{number}", 0.0, kind), TOP_3)
        types.extend(harness.meter.types)

    assert len(evaluated_ranks(scenario)) == 2
    assert types == ["purchase", ""]

    """A bundle may replay dislikes; they are still no recommendations."""
    """A bundle may replay dislikes; that they were not recommended is no fault."""

    async def scenario(harness: RecommenderHarness) -> None:
        rules = {"view": TypeEffect("replayed", True), "dislike": TypeEffect("replayed", False)}
        harness.models.live.event_types = EventTypes(rules)  # type: ignore[attr-defined]
        for kind in ("dislike", ""):
            await harness.recommender.record("u", NewEvent.create("10", 1.0, None, 0.0, kind), TOP_3)

    assert len(evaluated_ranks(scenario)) == 1
