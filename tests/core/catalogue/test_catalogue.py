from __future__ import annotations

import asyncio
from datetime import timedelta

import numpy as np
import pytest

from service.core.catalogue.attributes import to_microseconds
from service.core.catalogue.filter_cache import NOT_CACHED
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item, to_record
from service.core.catalogue.revisions import decode_revision, includes
from service.core.catalogue_store import ShardPosition, StoredItem
from service.core.errors import StoreUnavailable
from tests.core.catalogue.driven import ALL, DEFINITIONS, MODEL, Driven, allowed, ids_of, opened, run
from tests.core.catalogue.expressions import NOW


def test_everything_is_allowed_until_the_first_item_is_put() -> None:
    async def test(driven: Driven) -> None:
        assert driven.catalogue.is_empty
        assert driven.catalogue.allowed_now("one", None) is None
        driven.put(Item("a", available=False))
        assert not driven.catalogue.is_empty
        assert await allowed(driven) == ALL - {"a"}

    run(test)


def test_item_without_entry_is_allowed_only_if_the_catalogue_is_open() -> None:
    async def test() -> None:
        async for driven in opened(listed_only=True):
            driven.put(Item("a"), Item("b", available=False))
            assert await allowed(driven) == {"a"}
            assert await allowed(driven, "item_id <> 'z'") == {"a"}

    asyncio.run(test())


def test_deleted_item_is_blocked_until_it_is_put_again() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a"))
        driven.put(Item("a", deleted=True))
        assert await allowed(driven) == ALL - {"a"}
        assert driven.catalogue.get("a") is None
        driven.put(Item("a", "back"))
        assert await allowed(driven) == ALL
        assert driven.catalogue.get("a") == Item("a", "back")

    run(test)


def test_hidden_item_leaves_a_filter_bitmap_at_once() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", attributes={"price": 1.0}), Item("b", attributes={"price": 1.0}))
        request = FilterRequest("price < 5")
        assert await allowed(driven, "price < 5") == {"a", "b"}
        driven.put(Item("a", available=False, attributes={"price": 1.0}))
        now = driven.catalogue.allowed_now("one", request)
        assert now is not NOT_CACHED
        assert ids_of(MODEL, now) == {"b"}

    run(test)


def test_older_revision_never_replaces_a_newer_one() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", "new"))
        driven.put(Item("b"))
        driven.catalogue.apply(0, ShardPosition(1, "t"), [StoredItem("a", 0, to_record(Item("a", "old")))])
        entry = driven.catalogue.get("a")
        assert entry is not None
        assert entry.title == "new"
        assert driven.catalogue.position(0).revision == 2

    run(test)


def test_read_again_shard_forgets_what_is_gone_and_takes_reissued_revisions() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", available=False), Item("b", available=False), Item("i-1", "of a lost primary"))
        assert await allowed(driven) == ALL - {"a", "b"}
        before = driven.catalogue.revision
        older = Item("b", "an older page", available=False)
        items = [StoredItem("b", 1, to_record(Item("b"))), StoredItem("b", 0, to_record(older))]
        items.append(StoredItem("i-1", 2, to_record(Item("i-1", "kept"))))
        await driven.catalogue.replace_shard(0, ShardPosition(2, "other"), items)
        assert await allowed(driven) == ALL
        assert driven.catalogue.get("a") is None
        assert driven.catalogue.get("i-1") == Item("i-1", "kept")
        assert not includes(driven.catalogue.revision, before)
        assert driven.catalogue.item_count == 2
        # What follows in that history is applied, however low its number.
        driven.catalogue.apply(0, ShardPosition(3, "u"), [StoredItem("b", 3, to_record(Item("b", deleted=True)))])
        assert await allowed(driven) == ALL - {"b"}
        assert driven.catalogue.item_count == 1

    run(test)


def test_revision_changes_with_items_and_with_definitions() -> None:
    async def test(driven: Driven) -> None:
        first = driven.catalogue.revision
        driven.put(Item("a"))
        second = driven.catalogue.revision
        driven.catalogue.set_definitions(DEFINITIONS._replace(position=ShardPosition(2, "e")))
        third = driven.catalogue.revision
        assert len({first, second, third}) == 3
        assert includes(third, second)
        assert includes(second, first)
        assert not includes(first, second)

    run(test)


def test_filter_by_id_works_in_an_empty_catalogue() -> None:
    async def test(driven: Driven) -> None:
        assert await allowed(driven, "item_id IN ('a', 'b', 'unknown')") == {"a", "b"}
        assert await allowed(driven, "price < 50") == set()
        assert await allowed(driven, "price IS NULL") == ALL
        driven.put(Item("a", attributes={"price": 1.0}))
        assert await allowed(driven, "price < 50") == {"a"}

    run(test)


def test_model_that_was_removed_takes_its_filters_along() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", available=False))
        await driven.catalogue.add_model("two", ["b", "a"])
        two = await driven.catalogue.allowed("two", None)
        assert ids_of(["b", "a"], two) == {"b"}
        size = driven.catalogue.nbytes
        driven.catalogue.remove_model("two")
        assert driven.catalogue.nbytes < size

    run(test)


def test_allowed_rows_that_were_handed_out_never_change() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", attributes={"price": 1.0}))
        old = await driven.catalogue.allowed("one", FilterRequest("price < 5"))
        assert old is not None
        copy = old.bitmap.copy()
        driven.put(Item("b", attributes={"price": 1.0}))
        assert await allowed(driven, "price < 5") == {"a", "b"}
        assert np.array_equal(old.bitmap, copy)
        assert old.count == 1

    run(test)


def test_copy_that_catches_up_names_the_revision_before_and_then_the_newest() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a"))
        before = driven.catalogue.revision
        # "b" was hidden at revision 2 and shown again at 90, so a page of the changes up to 64 does not have it.
        page = [StoredItem("ab", 3, to_record(Item("ab", available=False)))]
        driven.catalogue.apply(0, ShardPosition(64, "t"), page, is_newest=False)
        assert driven.catalogue.position(0).revision == 64
        assert await allowed(driven) == ALL - {"ab"}
        between = driven.catalogue.revision
        assert includes(between, before) and between != before
        assert decode_revision(between).positions == decode_revision(before).positions
        rest = [StoredItem("b", 90, to_record(Item("b")))]
        driven.catalogue.apply(0, ShardPosition(90, "t"), rest)
        assert decode_revision(driven.catalogue.revision).is_at(0, ShardPosition(90, "t"))
        assert not decode_revision(driven.catalogue.revision).catching_up

    run(test)


def test_page_with_an_unknown_record_changes_nothing() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("a", available=False), Item("b", available=False))
        revision = driven.catalogue.revision
        unknown = to_record(Item("b")).replace(b'"format":1', b'"format":2')
        page = [StoredItem("a", 3, to_record(Item("a"))), StoredItem("b", 4, unknown)]
        for replaces in (False, True):
            with pytest.raises(StoreUnavailable):
                if replaces:
                    await driven.catalogue.replace_shard(0, ShardPosition(4, "u"), page)
                driven.catalogue.apply(0, ShardPosition(4, "u"), page)
            assert driven.catalogue.revision == revision
            assert await allowed(driven) == ALL - {"a", "b"}  # what the revision says
        driven.catalogue.apply(0, ShardPosition(3, "u"), page[:1])
        assert await allowed(driven) == ALL - {"b"}

    run(test)


def test_time_of_now_is_the_time_for_which_the_rows_are_right() -> None:
    async def test(driven: Driven) -> None:
        times: list[int] = []

        def clock() -> int:
            driven.now += 1  # every look at the clock is later
            times.append(driven.now)
            return driven.now

        driven.catalogue._filters.clock = clock
        driven.put(Item("a", attributes={"until": NOW + timedelta(microseconds=40)}))
        request = FilterRequest("until > now()")
        limit = to_microseconds(NOW) + 40
        for _ in range(60):
            rows = await driven.catalogue.allowed("one", request)
            assert ("a" in ids_of(MODEL, rows)) is (driven.catalogue.evaluated_at < limit)
            assert driven.catalogue.evaluated_at == times[-1]

    run(test)
