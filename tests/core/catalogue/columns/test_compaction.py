"""Columns are compacted while their rows change."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from service.core.catalogue.applied_items import AppliedItems
from service.core.catalogue.columns.compaction import compact_column
from service.core.catalogue.columns.item_columns import TITLE, ItemColumns
from service.core.catalogue.items import Item, to_record
from service.core.catalogue_store import StoredItem


class Replaced:
    """Items whose strings are replaced all the time."""

    def __init__(self, count: int) -> None:
        self.items = AppliedItems(ItemColumns(listed_only=False))
        self.entries: dict[str, Item] = {}
        self.revision = 0
        self.count = count
        self.rng = random.Random(1)

    def put(self, numbers: list[int]) -> None:
        stored = []
        for number in numbers:
            self.revision += 1
            text = f"{number} {self.revision}"
            attributes = {"brand": f"brand {text}", "tags": ("all", f"tag {text}")}
            item = Item(f"i{number}", f"title {text}", ("all", f"category {text}"), True, attributes)
            self.entries[item.item_id] = item
            stored.append(StoredItem(item.item_id, self.revision, to_record(item)))
        self.items.apply(0, stored)

    def churn(self, rounds: int) -> None:
        for _ in range(rounds):
            self.put(self.rng.sample(range(self.count), min(20, self.count)))

    async def compact(self, in_thread: Callable[[Callable[[], Any]], Any]) -> None:
        for key in self.items.columns.wasteful():
            await compact_column(self.items.columns, self.items.changes, key, in_thread)

    def check(self) -> None:
        assert {item_id: self.items.columns.get(self.items.columns.row_of(item_id)) for item_id in self.entries} == (
            self.entries
        )


def test_memory_for_replaced_strings_is_bounded() -> None:
    replaced = Replaced(50)

    async def at_once(work: Callable[[], Any]) -> Any:
        return work()

    async def scenario() -> None:
        for _ in range(20):
            replaced.churn(60)
            await replaced.compact(at_once)

    asyncio.run(scenario())
    assert replaced.items.columns.nbytes < 4_000_000
    replaced.check()


def test_rows_that_change_and_appear_during_the_compaction_are_right() -> None:
    replaced = Replaced(200)
    replaced.churn(300)
    assert len(replaced.items.columns.wasteful()) == 4
    old = replaced.items.columns.columns[TITLE]

    async def slow(work: Callable[[], Any]) -> Any:
        replaced.churn(5)
        found = work()
        replaced.churn(5)
        replaced.put(list(range(replaced.count, replaced.count + 700)))
        replaced.count += 700
        return found

    asyncio.run(replaced.compact(slow))
    assert replaced.items.columns.columns[TITLE] is not old
    replaced.check()
    replaced.churn(5)
    replaced.check()


def test_column_stays_if_more_rows_change_than_can_be_followed() -> None:
    replaced = Replaced(50)
    replaced.churn(300)
    old = replaced.items.columns.columns[TITLE]

    async def slow(work: Callable[[], Any]) -> Any:
        found = work()
        replaced.items.changes.append([1] * 300_000)
        return found

    asyncio.run(replaced.compact(slow))
    assert replaced.items.columns.columns[TITLE] is old
    replaced.check()
