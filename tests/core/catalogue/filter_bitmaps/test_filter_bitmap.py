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


def test_lineage_stays_through_patches_and_evaluations_of_all_rows() -> None:
    items = AppliedItems(ItemColumns(listed_only=False))
    model = map_model_now(MODEL, items.columns)
    compiled = FilterBitmap(Source(items.columns, items.changes), model, None)
    other = FilterBitmap(Source(items.columns, items.changes), model, None)
    lineage, bitmaps = compiled.allowed.lineage, []
    for revision in range(1, 4):
        items.apply(0, [StoredItem("a", revision, to_record(Item("a", available=revision != 2)))])
        assert compiled.catch_up(0) is (revision > 1)
        if revision == 1:
            evaluation = compiled.start(0)
            compiled.evaluate(evaluation)
            compiled.finish(evaluation)
        assert compiled.allowed.lineage is lineage
        bitmaps.append(compiled.allowed.bitmap)
    assert len(set(map(id, bitmaps))) == len(bitmaps)
    assert other.allowed.lineage is not lineage
