"""Content from the catalogue of a running service's store."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from ingest.errors import DataError
from model.training.content.stored_contents import parse_record, read_stored_contents
from model.training.data.event_log import ItemRecord
from service.core.catalogue.items import Item, to_record
from service.core.catalogue_store import ItemWrite
from service.core.ports import Store
from tests.model.training.logs import append, use
from tests.store.backends import Backend

ITEM = Item(
    "a b é",
    "Größe",
    ("x", "y"),
    False,
    {
        "price": 2.5,
        "new": True,
        "brand": "B",
        "tags": ("p", "q"),
        "since": datetime(2026, 3, 1, 12, 0, 0, 250, tzinfo=UTC),
    },
    np.array([1.0, -2.5], "<f4").tobytes(),
)


def put(backend: Backend, items: list[Item]) -> None:
    async def work(store: Store) -> None:
        await store.catalogue.write_items([ItemWrite(item.item_id, to_record(item)) for item in items])

    use(backend, work)


def test_catalogue_is_read_as_the_store_wrote_it(backend: Backend) -> None:
    many = [Item(f"item {number}", f"title {number}") for number in range(700)]
    put(backend, [ITEM, *many, Item("gone", deleted=True)])
    append(backend, [("u", "a b é", 1.0)])
    found = read_stored_contents(backend.url)
    assert {*found} == {ITEM.item_id, *(item.item_id for item in many)}
    own = found[ITEM.item_id]
    assert (own.title, own.categories, own.attributes) == (ITEM.title, ITEM.categories, ITEM.attributes)
    assert own.vector is not None
    assert own.vector.tolist() == [1.0, -2.5]
    assert found["item 3"].title == "title 3"


def test_store_without_items_has_no_content(backend: Backend) -> None:
    append(backend, [("u", "a", 1.0)])
    assert read_stored_contents(backend.url) == {}


def test_record_of_a_newer_release_is_refused() -> None:
    with pytest.raises(DataError, match="format 9"):
        parse_record(ItemRecord("a", b'{"format": 9}'))
