"""Which events are judged, against which state, and how often: once, before they are folded, where they are news."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence

import pytest

from service.core.events import NewEvent, Snapshot, Visit
from service.core.ports import EngineJob, Folded, Place, SilentMeter, TopK
from service.core.recommending.evaluation_sampling import MOST_JUDGED, Sampling
from service.core.recommending.recommender import Recommender
from service.core.recommending.snapshot_writer import MemoWriter
from tests.core.fakes import FakeEngine, FakeModels, MemoryStore, similar_one, visit_one

ASK = TopK(3, exclude_seen=True)
USERS = [f"user {n}" for n in range(40)]


class House:
    """The use cases over fakes; whatever is folded is judged by `share`."""

    def __init__(self, share: float) -> None:
        self.store, self.meter, self.models = MemoryStore(), SilentMeter(), FakeModels(FakeEngine())

        async def visit(visit: Visit, deadline: float) -> Snapshot:
            return await visit_one(self.store, visit)

        async def fold(job: EngineJob, deadline: float = math.inf) -> Folded:
            result = job[0].run([job[1]])[0]
            if isinstance(result, Exception):
                raise result
            return result

        self.recommender = Recommender(
            self.store,
            self.models,
            MemoWriter(self.store, max_waiting=100),
            self.meter,
            visit=visit,
            fold=fold,
            fold_aside=fold,
            similar=similar_one,
            sampling=Sampling(share),
        )


def judge(scenario: Callable[[House], Awaitable[None]], share: float = 1.0) -> list[tuple[str, Place]]:
    """What the meter was told."""

    async def whole() -> list[tuple[str, Place]]:
        house = House(share)
        await scenario(house)
        await house.recommender.close()
        return house.meter.places

    return asyncio.run(whole())


def event(item_id: str, event_id: str | None = None) -> NewEvent:
    return NewEvent.create(item_id, None, event_id, now=1.0)


async def record(house: House, items: Sequence[str], ask: TopK | None, user: str = "u", pause: float = 0.0) -> None:
    for item in items:
        await house.recommender.record(user, event(item), ask)
        await asyncio.sleep(pause)


# The fake's order: what is nearest to the last item first (to 0 at the beginning), of equally near ones the lower id.
# So 12 after 10 stands behind 10, 11 and 9, and among those not seen behind 11 and 9.
ITEMS = ("10", "nobody knows it", "12", "10")
PLACES = [Place(True, 10, 10), Place(False, 4, 3), Place(False, 4, 0)]


@pytest.mark.parametrize("pause", [0.0, 0.01], ids=["one upon the other", "each after the memo of the one before"])
@pytest.mark.parametrize("ask", [ASK, None], ids=["with an answer", "in the background"])
def test_each_event_is_judged_once_under_the_state_before_it(ask: TopK | None, pause: float) -> None:
    async def scenario(house: House) -> None:
        await record(house, ITEMS, ask, pause=pause)
        await house.recommender.recommend("u", ASK)

    places = judge(scenario)
    assert places[0] == ("v1", PLACES[0])
    assert places == [("v1", place) for place in PLACES]


def test_events_of_a_batch_are_judged_one_after_the_other() -> None:
    async def scenario(house: House) -> None:
        await house.recommender.record_batch([("u", event(item)) for item in ITEMS] + [("v", event("10"))])

    assert judge(scenario) == [("v1", place) for place in (*PLACES, PLACES[0])]


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_of_many_events_of_one_user_in_a_batch_the_last_drawn_are_judged(share: float) -> None:
    items = [*(str(n) for n in range(1, 41)), "nobody knows it"]

    async def alone(house: House) -> None:
        await record(house, items, None)

    async def together(house: House) -> None:
        await house.recommender.record_batch([("u", event(item)) for item in items] + [("v", event("10"))])

    wanted = judge(alone, share)
    assert len(wanted) > MOST_JUDGED
    company = [("v1", PLACES[0])] * Sampling(share).draws("v", 1)
    assert judge(together, share) == wanted[-MOST_JUDGED:] + company


def test_a_retry_is_not_judged_again() -> None:
    async def scenario(house: House) -> None:
        for ask in (ASK, ASK, None):
            await house.recommender.record("u", event("10", "e1"), ask)
        twice = [("u", event("12", "e2")), ("u", event("12", "e2")), ("u", event("10", "e1"))]
        await house.recommender.record_batch(twice)
        await house.recommender.record_batch(twice)

    assert judge(scenario) == [("v1", place) for place in PLACES[:2]]


def test_events_whose_folds_meet_are_judged_by_those_who_brought_them() -> None:
    """The memo lags behind: each request has all earlier events pending, and judges its own alone."""

    async def scenario(house: House) -> None:
        house.store.put_error = RuntimeError("no memo is ever stored")
        await record(house, ITEMS, ASK)

    assert judge(scenario) == [("v1", place) for place in PLACES]


def test_a_damaged_memo_is_rebuilt_and_the_event_judged_once() -> None:
    async def scenario(house: House) -> None:
        await record(house, ITEMS[:2], ASK)
        await house.recommender.close()
        house.store.damage("u", "v1", b"not a memo")
        await record(house, ITEMS[2:], ASK)

    assert judge(scenario) == [("v1", place) for place in PLACES]


def test_each_event_is_judged_by_the_model_that_answers_its_user() -> None:
    async def scenario(house: House) -> None:
        house.models.tested, house.models.in_test = FakeEngine("v2"), {"v"}
        for user in ("u", "v"):
            await record(house, ITEMS, None, user)

    places = judge(scenario)
    assert sorted(places) == [(version, place) for version in ("v1", "v2") for place in sorted(PLACES)]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_is_drawn_by_user_and_sequence_alone(share: float) -> None:
    async def scenario(house: House) -> None:
        for first in range(1, 51, MOST_JUDGED):
            batch = [(user, event(str(n))) for user in USERS for n in range(first, min(51, first + MOST_JUDGED))]
            await house.recommender.record_batch(batch)

    sampling = Sampling(share)
    drawn = sum(sampling.draws(user, sequence) for user in USERS for sequence in range(1, 51))
    assert len(judge(scenario, share)) == drawn
    assert abs(drawn - 2000 * share) <= 5 * math.sqrt(2000 * share * (1 - share))


def test_draws_stay_the_same_and_grow_with_the_share() -> None:
    """Pinned, for two processes of different releases share a log."""
    events = [(user, sequence) for user in USERS for sequence in range(1, 51)]
    small, large = ({pair for pair in events if Sampling(share).draws(*pair)} for share in (0.1, 0.5))
    assert small < large
    assert [sequence for user, sequence in sorted(small) if user == "user 0"] == [13, 23]
