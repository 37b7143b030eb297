"""Appends of batches: steps, order and failures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, LogView
from service.core.recommending.bulk_append import MAX_EVENTS_PER_APPEND, MAX_USERS_AT_ONCE
from service.core.recommending.results import Recorded
from tests.core.memory_store import MemoryStore
from tests.core.recommending.recommender_harness import build, event


class WatchedStore(MemoryStore):
    """Store that notes its round trips, and fails those after `fails_from`."""

    fails_from = 1 << 30

    def __init__(self) -> None:
        super().__init__()
        self.trips: list[list[tuple[str, int]]] = []

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        self.trips.append([(request.user_id, len(request.events)) for request in requests])
        await asyncio.sleep(0)
        if len(self.trips) > self.fails_from:
            return [StoreUnavailable("down")] * len(requests)
        return await super().append_and_read(requests)


def record(store: WatchedStore, events: list[tuple[str, str]]) -> list[object]:
    async def scenario() -> list[object]:
        recommender = build(store).recommender
        outcomes = await recommender.record_batch([(user, event(item)) for user, item in events])
        await recommender.close()
        return list(outcomes)

    return asyncio.run(scenario())


def test_users_of_a_batch_are_queued_a_few_at_a_time() -> None:
    store = WatchedStore()
    users = [(f"u{number}", "10") for number in range(10 * MAX_USERS_AT_ONCE)]
    outcomes = record(store, users)
    assert all(isinstance(outcome, Recorded) and outcome.sequence == 1 for outcome in outcomes)
    appends = [trip for trip in store.trips if any(count for _, count in trip)]
    assert max(map(len, appends)) <= MAX_USERS_AT_ONCE
    assert [user for trip in appends for user, _ in trip] == [user for user, _ in users]


def test_events_of_one_user_are_appended_in_steps_and_in_order() -> None:
    store = WatchedStore()
    count = 2 * MAX_EVENTS_PER_APPEND + 7
    outcomes = record(store, [("u", str(1 + number % 50)) for number in range(count)])
    assert [outcome.sequence for outcome in outcomes if isinstance(outcome, Recorded)] == list(range(1, count + 1))
    assert [trip for trip in store.trips if trip != [("u", 0)]] == [
        [("u", MAX_EVENTS_PER_APPEND)],
        [("u", MAX_EVENTS_PER_APPEND)],
        [("u", 7)],
    ]


def test_failed_step_ends_the_events_of_its_user() -> None:
    store = WatchedStore()
    store.fails_from = 1
    outcomes = record(store, [("u", "10")] * (3 * MAX_EVENTS_PER_APPEND))
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Recorded] * MAX_EVENTS_PER_APPEND + [StoreUnavailable] * (2 * MAX_EVENTS_PER_APPEND)
    assert len(store.trips) == 2
