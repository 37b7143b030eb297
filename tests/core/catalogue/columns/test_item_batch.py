import pytest

from service.core.catalogue.attributes import AttributeType, to_microseconds
from service.core.catalogue.columns.item_batch import decode_batch
from service.core.catalogue.items import Item, to_record
from service.core.errors import StoreUnavailable
from tests.core.catalogue.expressions import NOW


def test_values_stand_column_by_column() -> None:
    items = [
        Item("a", "title", ("x", "y"), attributes={"price": 1.5, "sale": True, "until": NOW}),
        Item("b", available=False, attributes={"tags": ("t",), "price": 2.0}),
        Item("c", deleted=True),
    ]
    batch = decode_batch(list(map(to_record, items)))
    assert batch.deleted == [False, False, True]
    assert batch.values == {
        ("title", AttributeType.STRING): ["title", None, None],
        ("categories", AttributeType.STRINGS): [("x", "y"), (), None],
        ("available", AttributeType.BOOL): [True, False, None],
        ("price", AttributeType.NUMBER): [1.5, 2.0, None],
        ("sale", AttributeType.BOOL): [True, None, None],
        ("until", AttributeType.TIME): [to_microseconds(NOW), None, None],
        ("tags", AttributeType.STRINGS): [None, ("t",), None],
    }


def test_values_of_one_name_and_several_types_are_several_columns() -> None:
    records = [to_record(Item("a", attributes={"size": value})) for value in (1.0, "L", True)]
    values = decode_batch(records).values
    assert values["size", AttributeType.NUMBER] == [1.0, None, None]
    assert values["size", AttributeType.STRING] == [None, "L", None]
    assert values["size", AttributeType.BOOL] == [None, None, True]


def test_record_of_a_newer_release_is_refused() -> None:
    record = to_record(Item("a")).replace(b'"format":1', b'"format":2')
    with pytest.raises(StoreUnavailable):
        decode_batch([to_record(Item("b")), record])
