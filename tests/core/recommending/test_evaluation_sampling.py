"""Which events are judged, against which state, and how often: once, before they are folded, where they are news."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence

import pytest

from service.core.engine_requests import EngineResult, TargetRank, TopK
from service.core.events import AppendAndRead, LogView, NewEvent
from service.core.ports import EngineJob
from service.core.recommending.evaluation_sampling import MAX_EVALUATED, Sampling
from service.core.recommending.recommender import Recommender
from service.core.recommending.snapshot_writer import SnapshotWriter
from tests.core.fakes import FakeEngine, FakeModels, MemoryStore, SilentMeter, append_and_read_one, similar_one

ASK = TopK(3, exclude_seen=True)
USERS = [f"user {n}" for n in range(40)]


class RecommenderHarness:
    """The use cases over fakes; whatever is folded is judged by `share`."""

    def __init__(self, share: float) -> None:
        self.store, self.meter, self.models = MemoryStore(), SilentMeter(), FakeModels(FakeEngine())

        async def append_and_read(request: AppendAndRead, deadline: float) -> LogView:
            return await append_and_read_one(self.store, request)

        async def fold(job: EngineJob, deadline: float = math.inf) -> EngineResult:
            result = job[0].run([job[1]])[0]
            if isinstance(result, Exception):
                raise result
            return result

        self.recommender = Recommender(
            self.store,
            self.models,
            SnapshotWriter(self.store, max_waiting=100),
            self.meter,
            append_and_read=append_and_read,
            fold=fold,
            fold_aside=fold,
            similar=similar_one,
            sampling=Sampling(share),
        )


def judge(
    scenario: Callable[[RecommenderHarness], Awaitable[None]], share: float = 1.0
) -> list[tuple[str, TargetRank]]:
    """What the meter was told."""

    async def whole() -> list[tuple[str, TargetRank]]:
        harness = RecommenderHarness(share)
        await scenario(harness)
        await harness.recommender.close()
        return harness.meter.ranks

    return asyncio.run(whole())


def event(item_id: str, event_id: str | None = None) -> NewEvent:
    return NewEvent.create(item_id, None, event_id, now=1.0)


async def record(
    harness: RecommenderHarness, items: Sequence[str], ask: TopK | None, user: str = "u", pause: float = 0.0
) -> None:
    for item in items:
        await harness.recommender.record(user, event(item), ask)
        await asyncio.sleep(pause)


# The fake's order: what is nearest to the last item first (to 0 at the beginning), of equally near ones the lower id.
# So 12 after 10 stands behind 10, 11 and 9, and among those not seen behind 11 and 9.
ITEMS = ("10", "nobody knows it", "12", "10")
RANKS = [TargetRank(True, 10, 10), TargetRank(False, 4, 3), TargetRank(False, 4, 0)]


@pytest.mark.parametrize("pause", [0.0, 0.01], ids=["one upon the other", "each after the memo of the one before"])
@pytest.mark.parametrize("ask", [ASK, None], ids=["with an answer", "in the background"])
def test_each_event_is_judged_once_under_the_state_before_it(ask: TopK | None, pause: float) -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        await record(harness, ITEMS, ask, pause=pause)
        await harness.recommender.recommend("u", ASK)

    ranks = judge(scenario)
    assert ranks[0] == ("v1", RANKS[0])
    assert ranks == [("v1", place) for place in RANKS]


def test_events_of_a_batch_are_judged_one_after_the_other() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        await harness.recommender.record_batch([("u", event(item)) for item in ITEMS] + [("v", event("10"))])

    assert judge(scenario) == [("v1", place) for place in (*RANKS, RANKS[0])]


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_of_many_events_of_one_user_in_a_batch_the_last_drawn_are_judged(share: float) -> None:
    items = [*(str(n) for n in range(1, 41)), "nobody knows it"]

    async def alone(harness: RecommenderHarness) -> None:
        await record(harness, items, None)

    async def together(harness: RecommenderHarness) -> None:
        await harness.recommender.record_batch([("u", event(item)) for item in items] + [("v", event("10"))])

    wanted = judge(alone, share)
    assert len(wanted) > MAX_EVALUATED
    company = [("v1", RANKS[0])] * Sampling(share).draws("v", 1)
    assert judge(together, share) == wanted[-MAX_EVALUATED:] + company


def test_a_retry_is_not_judged_again() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        for ask in (ASK, ASK, None):
            await harness.recommender.record("u", event("10", "e1"), ask)
        twice = [("u", event("12", "e2")), ("u", event("12", "e2")), ("u", event("10", "e1"))]
        await harness.recommender.record_batch(twice)
        await harness.recommender.record_batch(twice)

    assert judge(scenario) == [("v1", place) for place in RANKS[:2]]


def test_events_whose_folds_meet_are_judged_by_those_who_brought_them() -> None:
    """The memo lags behind: each request has all earlier events pending, and judges its own alone."""

    async def scenario(harness: RecommenderHarness) -> None:
        harness.store.put_error = RuntimeError("no memo is ever stored")
        await record(harness, ITEMS, ASK)

    assert judge(scenario) == [("v1", place) for place in RANKS]


def test_a_damaged_memo_is_rebuilt_and_the_event_judged_once() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        await record(harness, ITEMS[:2], ASK)
        await harness.recommender.close()
        harness.store.damage("u", "v1", b"not a memo")
        await record(harness, ITEMS[2:], ASK)

    assert judge(scenario) == [("v1", place) for place in RANKS]


def test_each_event_is_judged_by_the_model_that_answers_its_user() -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        harness.models.tested, harness.models.in_test = FakeEngine("v2"), {"v"}
        for user in ("u", "v"):
            await record(harness, ITEMS, None, user)

    ranks = judge(scenario)
    assert sorted(ranks) == [(version, place) for version in ("v1", "v2") for place in sorted(RANKS)]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_is_drawn_by_user_and_sequence_alone(share: float) -> None:
    async def scenario(harness: RecommenderHarness) -> None:
        for first in range(1, 51, MAX_EVALUATED):
            batch = [(user, event(str(n))) for user in USERS for n in range(first, min(51, first + MAX_EVALUATED))]
            await harness.recommender.record_batch(batch)

    sampling = Sampling(share)
    sampled = sum(sampling.draws(user, sequence) for user in USERS for sequence in range(1, 51))
    assert len(judge(scenario, share)) == sampled
    assert abs(sampled - 2000 * share) <= 5 * math.sqrt(2000 * share * (1 - share))


def test_draws_stay_the_same_and_grow_with_the_share() -> None:
    """Pinned, for two processes of different releases share a log."""
    events = [(user, sequence) for user in USERS for sequence in range(1, 51)]
    small, large = ({pair for pair in events if Sampling(share).draws(*pair)} for share in (0.1, 0.5))
    assert small < large
    assert [sequence for user, sequence in sorted(small) if user == "user 0"] == [13, 23]
