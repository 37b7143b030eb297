"""Contract of every store: counters of what recommendations earned."""

from __future__ import annotations

import asyncio

from service.core.attribution.credits import COUNTERS_ON_A_PAGE, USER_SHARDS, CounterPage, additions, shard_of
from service.core.events import AppendAndRead, Appended, Conflict, NewEvent
from service.core.ports import Store
from tests.store.backends import Backend
from tests.store.calls import append, append_and_read_all, new, read

PURCHASE = "c1o1v19990000 p:0:20261128T052316Z-3cf3d5d7:3 x:0a0b0c0d:20261128T052316Z-3cf3d5d7"
REFUND = "c1o1v-5000000 p:0:20261128T052316Z-3cf3d5d7:3"


def credited(item: str, event_id: str | None, credit: str, timestamp: float = 1.5) -> NewEvent:
    event = NewEvent.create(item, timestamp, event_id, 0.0, "purchase", 19.99, "some-id")
    return event._replace(credit=credit)


def expected(*counted: tuple[str, str, int]) -> dict[str, int]:
    """The sums over all shards of (user, credit, how often)."""
    sums: dict[str, int] = {}
    for _, credit, times in counted:
        for name, amount in additions(credit):
            sums[name] = sums.get(name, 0) + times * amount
    return sums


async def counters_of_shards(store: Store) -> list[dict[str, int]]:
    """Read all pages of all shards."""
    shards: list[dict[str, int]] = [{} for _ in range(USER_SHARDS)]
    left = [CounterPage(shard) for shard in range(USER_SHARDS)]
    while left:
        pages, left = left[:5], left[5:]
        for page, (found, cursor) in zip(pages, await store.attribution_counters(pages), strict=True):
            assert len(found) <= 8 * COUNTERS_ON_A_PAGE  # Redis returns up to 512, if it packs a hash into a list
            shards[page.shard].update(found)
            left += [CounterPage(page.shard, cursor)] if cursor else []
    return shards


async def counted(store: Store) -> dict[str, int]:
    sums: dict[str, int] = {}
    for shard in await counters_of_shards(store):
        for name, amount in shard.items():
            sums[name] = sums.get(name, 0) + amount
    return sums


class AttributionContract:
    async def test_nothing_is_counted_without_a_credit(self, store: Store) -> None:
        await append(store, "u", new("a", "id-1"), NewEvent.create("a", 1.0, "id-2", 0.0, recommendation_id="x"))
        assert await counters_of_shards(store) == [{} for _ in range(USER_SHARDS)]

    async def test_append_counts_in_the_shard_of_the_user(self, store: Store) -> None:
        await append(store, "u", credited("a", "id-1", PURCHASE), credited("b", "id-2", REFUND))
        await append(store, "u", credited("c", "id-3", PURCHASE))
        shards = await counters_of_shards(store)
        assert len(shards) == USER_SHARDS
        assert shards[shard_of("u")] == expected(("u", PURCHASE, 2), ("u", REFUND, 1))
        assert sum(map(bool, shards)) == 1
        assert shards[shard_of("u")]["p:0:20261128T052316Z-3cf3d5d7:3:v"] == 2 * 19_990_000 - 5_000_000

    async def test_many_counters_are_read_in_pages(self, store: Store) -> None:
        credits = [f"c1 p:0:2026{version:04}:{position}" for version in range(100) for position in range(1, 11)]
        await append(store, "u", *[credited("a", f"id-{number}", each) for number, each in enumerate(credits)])
        shards = await counters_of_shards(store)
        assert shards[shard_of("u")] == {f"{each.removeprefix('c1 ')}:c": 1 for each in credits}

    async def test_page_after_an_unknown_cursor_is_no_error(self, store: Store) -> None:
        await append(store, "u", credited("a", "id-1", PURCHASE))
        [(found, cursor)] = await store.attribution_counters([CounterPage(shard_of("u"), "elsewhere:17")])
        assert (set(found) <= set(expected(("u", PURCHASE, 1)))) and cursor == ""

    async def test_event_with_credit_is_stored_as_one_without(self, store: Store) -> None:
        await append(store, "u", credited("a", "id-1", PURCHASE))
        [event] = (await read(store, "u", None)).pending
        assert (event.item_id, event.event_id, event.type, event.value) == ("a", "id-1", "purchase", 19.99)
        assert event.recommendation_id == "some-id"

    async def test_duplicates_and_conflicts_count_nothing(self, store: Store) -> None:
        first = credited("a", "id-1", PURCHASE)
        view = await append(store, "u", first, first, credited("b", "id-1", PURCHASE))
        assert view.appended == (Appended(1, False), Appended(1, True), Conflict(1))
        await append(store, "u", first)
        assert await counted(store) == expected(("u", PURCHASE, 1))

    async def test_concurrent_appends_count_each_event_once(self, store: Store) -> None:
        users = [f"u{number}" for number in range(20)]
        requests = [AppendAndRead(user, None, (credited("a", "id", PURCHASE),)) for user in users]
        await asyncio.gather(*(append_and_read_all(store, requests) for _ in range(3)))
        assert await counted(store) == expected(("", PURCHASE, len(users)))

    async def test_undo_subtracts_what_the_event_counted(self, store: Store) -> None:
        await append(store, "u", credited("a", "id-1", PURCHASE), credited("b", None, REFUND), new("c", "id-3"))
        assert await store.delete_event("u", "id-1")
        assert not await store.delete_event("u", "id-1")
        assert await store.delete_event("u", "id-3")
        sums = await counted(store)
        assert {name: amount for name, amount in sums.items() if amount} == expected(("u", REFUND, 1))
        assert await store.delete_event("u", "seq-2")
        assert not any((await counted(store)).values())

    async def test_event_of_an_undone_id_counts_again(self, store: Store) -> None:
        await append(store, "u", credited("a", "id-1", PURCHASE))
        await store.delete_event("u", "id-1")
        await append(store, "u", credited("a", "id-1", PURCHASE))
        assert await counted(store) == expected(("u", PURCHASE, 1))

    async def test_retention_by_number_subtracts_nothing(self, backend: Backend) -> None:
        store = await backend.open(keep=2)
        for number in range(5):
            await append(store, "u", credited("a", f"id-{number}", PURCHASE))
        assert await counted(store) == expected(("u", PURCHASE, 5))
        assert len((await read(store, "u", None)).pending) == 2
        await store.close()

    async def test_expiry_and_deletion_subtract_nothing(self, backend: Backend) -> None:
        store = await backend.open(days=1)
        await append(store, "u", credited("a", "id-1", PURCHASE))
        await append(store, "v", credited("a", "id-1", PURCHASE))
        backend.make_older("u", 90_000.0)
        assert await store.expire(["u"]) == 1
        assert await store.delete_user("v") == 1
        assert await counted(store) == expected(("u", PURCHASE, 2))
        await store.close()

    async def test_merge_subtracts_nothing_and_its_events_can_be_undone(self, store: Store) -> None:
        await append(store, "visitor", credited("a", "id-1", PURCHASE, 1.0), credited("b", None, REFUND, 2.0))
        await append(store, "u", credited("c", "id-9", PURCHASE, 1.5))
        await store.merge("u", "visitor")
        assert await counted(store) == expected(("", PURCHASE, 2), ("", REFUND, 1))
        pending = (await read(store, "u", None)).pending
        assert [event.item_id for event in pending] == ["a", "c", "b"]
        for event in pending:
            assert await store.delete_event("u", event.event_id)
        assert not any((await counted(store)).values())
