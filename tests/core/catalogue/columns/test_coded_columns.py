import random

import pytest

from service.core.catalogue.columns.coded_columns import SetColumn, TextColumn
from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.items import Item


def test_strings_that_were_replaced_are_dropped_in_the_end() -> None:
    columns = ItemColumns(listed_only=False)
    rows = [columns.add_row(f"i-{index}") for index in range(50)]
    rng, current = random.Random(0), {}
    for number in range(12_000):
        row = rng.choice(rows)
        current[row] = Item(
            columns.id_of(row),
            f"title {number}",
            ("all", f"category {number}"),
            attributes={"brand": f"brand {number}", "tags": (f"tag {number}", f"tag {number + 1}")},
        )
        columns.put(row, current[row])
        columns.compact()
    assert columns.nbytes < 4_000_000
    assert {row: columns.get(row) for row in current} == current


@pytest.mark.parametrize(
    ("column", "values"), [(TextColumn(), ["a", None, "b", "a"]), (SetColumn(), [("a", "b"), None, (), ("b",)])]
)
def test_compacted_column_has_the_same_values(column: TextColumn | SetColumn, values: list[object]) -> None:
    column.resize(8)
    for replaced in ("x", "y"):
        column.put(0, (replaced,) if isinstance(column, SetColumn) else replaced)
    for row, value in enumerate(values):
        column.put(row, value)
    compacted = column.compacted()
    assert [compacted.get(row) for row in range(8)] == [column.get(row) for row in range(8)]
    assert compacted.nbytes <= column.nbytes
    compacted.put(5, values[0])
    assert compacted.codes.data[5] == compacted.codes.data[0]
