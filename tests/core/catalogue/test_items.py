from datetime import UTC, datetime

import pytest

from service.core.catalogue.items import Item, from_record, to_record
from service.core.errors import StoreUnavailable

ITEM = Item(
    "i-1",
    "Größe 42",
    ("shoes", "winter"),
    False,
    {"price": 9.5, "new": True, "brand": "x", "tags": ("a", "b"), "until": datetime(2026, 12, 1, tzinfo=UTC)},
    b"\0\0\0?\0\0\x80\xbf",
)


def test_record_gives_the_item_back_with_the_types_of_its_values() -> None:
    assert from_record("i-1", to_record(ITEM)) == ITEM
    assert from_record("i-2", to_record(Item("i-2", deleted=True))) == Item("i-2", deleted=True)


def test_equal_items_have_equal_records() -> None:
    attributes = dict(reversed(ITEM.attributes.items()))
    reordered = Item("i-1", ITEM.title, ITEM.categories, False, attributes, ITEM.vector)
    assert to_record(reordered) == to_record(ITEM)


def test_record_of_a_newer_release_is_refused() -> None:
    record = to_record(ITEM).replace(b'"format":1', b'"format":2')
    with pytest.raises(StoreUnavailable) as refused:
        from_record("i-1", record)
    assert "format 2" in refused.value.for_log
