from datetime import UTC, datetime

from service.core.catalogue.items import Item, from_record, to_record

ITEM = Item(
    "i-1",
    "Größe 42",
    ("shoes", "winter"),
    False,
    {"price": 9.5, "new": True, "brand": "x", "tags": ("a", "b"), "until": datetime(2026, 12, 1, tzinfo=UTC)},
    (0.5, -1.0),
)


def test_record_gives_the_item_back_with_the_types_of_its_values() -> None:
    assert from_record("i-1", to_record(ITEM)) == ITEM
    assert from_record("i-2", to_record(Item("i-2", deleted=True))) == Item("i-2", deleted=True)


def test_equal_items_have_equal_records() -> None:
    attributes = dict(reversed(ITEM.attributes.items()))
    reordered = Item("i-1", ITEM.title, ITEM.categories, False, attributes, ITEM.vector)
    assert to_record(reordered) == to_record(ITEM)
