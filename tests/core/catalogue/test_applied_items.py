"""Stored items are applied, and shards replaced."""

from __future__ import annotations

import asyncio
import random

import pytest

from service.core.catalogue import applied_items
from service.core.catalogue.applied_items import MAX_CACHED, AppliedItems
from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.items import Item, to_record
from service.core.catalogue_store import StoredItem


def stored(item: Item, revision: int) -> StoredItem:
    return StoredItem(item.item_id, revision, to_record(item))


def filled(count: int) -> AppliedItems:
    items = AppliedItems(ItemColumns(listed_only=False))
    items.apply(0, [stored(Item(f"i{number}"), number + 1) for number in range(count)])
    return items


def test_page_is_applied_as_its_items_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    pages = []
    for _ in range(60):
        size = rng.choice((1, 3, 20))
        pages.append(
            [
                stored(
                    Item(f"i{rng.randrange(30)}", f"t{rng.randrange(3)}", deleted=rng.random() < 0.2),
                    rng.randrange(50),
                )
                for _ in range(size)
            ]
        )
    outcomes = []
    for few in (0, 1000):
        monkeypatch.setattr(applied_items, "_FEW", few)
        items = AppliedItems(ItemColumns(listed_only=False))
        for number, page in enumerate(pages):
            # A page has the newest state of an item once.
            items.apply(number % 2, list({each.item_id: each for each in page}.values()))
        columns = items.columns
        outcomes.append(
            {
                columns.id_of(row): (columns.get(row), *(int(array.data[row]) for array in columns.row_arrays()[:5]))
                for row in range(1, columns.row_count)
            }
        )
    assert outcomes[0] == outcomes[1]


def test_most_recently_used_entries_stay_cached() -> None:
    items = filled(MAX_CACHED + 10)
    first = items.get("i0")
    for number in range(1, MAX_CACHED + 10):
        items.get(f"i{number}")
        assert items.get("i0") is first
    assert len(items._cached) == MAX_CACHED
    assert "i1" not in items._cached and f"i{MAX_CACHED + 9}" in items._cached


@pytest.mark.parametrize("count", [1, 50])
def test_cached_entry_is_dropped_when_its_item_changes(count: int) -> None:
    items = filled(100)
    before = [items.get(f"i{number}") for number in range(100)]
    items.apply(0, [stored(Item(f"i{number}", "new"), 1000 + number) for number in range(count)])
    for number in range(100):
        entry = items.get(f"i{number}")
        assert entry is not None and (entry.title == "new" if number < count else entry is before[number])


def test_shard_is_replaced_in_one_step() -> None:
    async def replace() -> None:
        items = filled(1_000)
        items.apply(1, [stored(Item("other"), 1)])
        items.get("i1")
        new = [stored(Item(f"i{number}", "new" if number < 10 else None), 5) for number in range(900)]
        position = items.changes.position
        staged = await items.stage_all(0, [*new, stored(Item("i3", "older page"), 4), stored(Item("added"), 6)])
        assert items.columns.item_count == 1_001
        assert items.changes.position == position
        items.replace(0, staged)
        assert items.columns.item_count == 902
        changed = items.changes.since(position)
        assert changed is not None and len(changed) == 10 + 100 + 1
        assert [items.get(item_id) for item_id in ("i1", "i3", "i10", "i950", "other", "added")] == [
            Item("i1", "new"),
            Item("i3", "new"),
            Item("i10"),
            None,
            Item("other"),
            Item("added"),
        ]

    asyncio.run(replace())


def test_item_that_changes_and_changes_back_in_one_page_is_as_before() -> None:
    applied = AppliedItems(ItemColumns(listed_only=False))
    sold_out, back = (to_record(Item("a", available=available)) for available in (False, True))
    applied.apply(0, [StoredItem("a", 1, sold_out)])
    applied.apply(0, [StoredItem("a", 2, back), StoredItem("a", 3, sold_out)])
    found = applied.get("a")
    assert found is not None
    assert not found.available
