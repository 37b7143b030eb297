from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from service.core.catalogue.applied_items import AppliedItems
from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.item_pages import ItemPages
from service.core.catalogue.items import Item, to_record
from service.core.catalogue_store import StoredItem
from service.core.errors import Overloaded


class Changing:
    """Pages of items that change while a page is searched."""

    def __init__(self, *ids: str) -> None:
        self.items = AppliedItems(ItemColumns(listed_only=False))
        self.revision = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self.pages = ItemPages(self.items, self._in_thread, lambda: 0)
        self.put(*ids)

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        found = work()
        self.meanwhile()
        return found

    def put(self, *ids: str, deleted: bool = False) -> None:
        for item_id in ids:
            self.revision += 1
            self.items.apply(0, [StoredItem(item_id, self.revision, to_record(Item(item_id, deleted=deleted)))])

    def page(self, cursor: str = "", limit: int = 2) -> tuple[list[str], str]:
        rows, following, _ = asyncio.run(self.pages.page(None, cursor, limit))
        return list(map(self.items.columns.id_of, rows)), following


def test_pages_are_of_their_size_and_end_with_an_empty_cursor() -> None:
    pages = Changing("c", "a", "b", "d")
    assert pages.page() == (["a", "b"], "b")
    assert pages.page("b") == (["c", "d"], "")
    assert pages.page("d") == ([], "")
    assert pages.page("bb", 1) == (["c"], "c")


def test_item_that_appears_during_the_search_is_on_the_page() -> None:
    pages = Changing("a", "c", "d")
    pages.meanwhile = lambda: pages.put("b", "bb")
    assert pages.page() == (["a", "b"], "b")
    assert pages.page("d") == ([], "")


def test_item_that_is_deleted_during_the_search_is_not_on_the_page() -> None:
    pages = Changing("a", "b", "c")
    pages.meanwhile = lambda: pages.put("a", "b", deleted=True)
    assert pages.page() == ([], "b")
    assert pages.page("b") == (["c"], "")


def test_listing_is_refused_while_too_much_changes() -> None:
    pages = Changing("a")
    pages.meanwhile = lambda: pages.items.changes.append(list(range(1, 5000)))
    with pytest.raises(Overloaded):
        pages.page()


def test_many_ids_are_listed_in_order_with_those_added_later() -> None:
    ids = [f"item-{index * 7919 % 6000}" for index in range(6000)]
    pages = Changing(*ids[:5000])
    pages.page()
    pages.put(*ids[5000:])
    found, cursor = pages.page(limit=1000)
    while cursor:
        more, cursor = pages.page(cursor, 1000)
        found += more
    assert found == sorted(ids)


def test_total_counts_the_rows_of_all_pages() -> None:
    pages = Changing("c", "a", "b", "d")
    pages.put("d", deleted=True)
    assert [asyncio.run(pages.pages.page(None, cursor, 2)).total for cursor in ("", "b", "c")] == [3, 3, 3]


@pytest.mark.parametrize(("added", "total"), [(3, 6), (200, 4)])
def test_total_counts_a_few_changes_during_the_search(added: int, total: int) -> None:
    pages = Changing("a", "b", "c", "d")
    pages.put("gone")
    pages.put("gone", deleted=True)

    def change() -> None:
        pages.put(*map(str, range(added)))
        pages.put("b", deleted=True)

    pages.meanwhile = change
    assert asyncio.run(pages.pages.page(None, "", 2)).total == total
