from __future__ import annotations

from datetime import timedelta

from service.core.catalogue.applied_items import AppliedItems
from service.core.catalogue.attributes import AttributeType, to_microseconds
from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.expression.checker import check
from service.core.catalogue.expression.parser import parse
from service.core.catalogue.filter_bitmaps.filter_bitmap import FilterBitmap, Source
from service.core.catalogue.filter_bitmaps.model_rows import map_model_now
from service.core.catalogue.items import Item, to_record
from service.core.catalogue_store import StoredItem
from tests.core.catalogue.driven import ids_of
from tests.core.catalogue.expressions import NOW

MODEL = ["a", "b"]


def test_evaluation_that_was_overtaken_is_dropped() -> None:
    items = AppliedItems(ItemColumns(listed_only=False))
    model = map_model_now(MODEL, items.columns)
    record = to_record(Item("a", attributes={"until": NOW + timedelta(seconds=5)}))
    items.apply(0, [StoredItem("a", 1, record)])
    predicate = check(parse("until > now()"), {"until": AttributeType.TIME}).predicate
    compiled = FilterBitmap(Source(items.columns, items.changes), model, predicate)
    start = to_microseconds(NOW)
    first = compiled.start(start)
    compiled.evaluate(first)
    compiled.finish(first)
    assert ids_of(MODEL, compiled.allowed) == {"a"}
    slow = compiled.start(start + 1)
    compiled.evaluate(slow)
    assert compiled.catch_up(start + 6_000_000)
    compiled.finish(slow)
    assert compiled.catch_up(start + 6_000_000)
    assert ids_of(MODEL, compiled.allowed) == set()
