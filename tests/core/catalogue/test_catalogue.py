from __future__ import annotations

import asyncio

import numpy as np
import pytest

from service.core.catalogue.filter_cache import NOT_CACHED
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item, to_record
from service.core.catalogue.revisions import includes
from service.core.catalogue_store import ShardPosition, StoredItem
from service.core.errors import StoreUnavailable
from tests.core.catalogue.driven import ALL, DEFINITIONS, MODEL, Driven, allowed, ids_of, opened, run


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
        driven.catalogue.replace_shard(0, ShardPosition(2, "other"), items)
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


def test_items_before_one_that_cannot_be_read_are_applied() -> None:
    async def test(driven: Driven) -> None:
        driven.put(Item("b"))
        assert await allowed(driven) == ALL
        items = [StoredItem("a", 2, to_record(Item("a", available=False))), StoredItem("b", 3, b'{"format": 99}')]
        with pytest.raises(StoreUnavailable):
            driven.catalogue.apply(0, ShardPosition(3, "t"), items)
        assert await allowed(driven) == ALL - {"a"}
        assert driven.catalogue.position(0).revision == 1

    run(test)
