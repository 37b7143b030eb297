"""Columns that become arrays and columns again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.core.catalogue.columns.column_arrays import ColumnExport, import_columns
from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.items import Item
from tests.core.catalogue.expressions import items

Arrays = dict[str, NDArray[Any]]


def exported(columns: ItemColumns) -> tuple[dict[str, Any], Arrays]:
    export = ColumnExport(columns)
    arrays = {name: np.concatenate([np.zeros(0, dtype), *parts]) for name, dtype, parts in export.arrays()}
    return json.loads(json.dumps(export.description)), arrays


def filled(put: list[Item], listed_only: bool = False) -> ItemColumns:
    columns = ItemColumns(listed_only)
    columns.add_rows(["only in a model", "e\u0301"])
    for item in put:
        columns.put(columns.add_row(item.item_id), item)
    return columns


@settings(max_examples=100, deadline=None)
@given(st.lists(items, max_size=12), st.lists(items, max_size=12))
def test_columns_of_a_snapshot_are_equal_and_go_on_to_change(put: list[Item], later: list[Item]) -> None:
    columns, copy = filled(put), ItemColumns(listed_only=False)
    import_columns(copy, *exported(columns))
    assert copy.item_count == columns.item_count
    for item in later:
        for each in (columns, copy):
            each.put(each.add_row(item.item_id), item)
    assert copy.row_count == columns.row_count
    assert [copy.get(row) for row in range(copy.row_count)] == [columns.get(row) for row in range(copy.row_count)]
    assert [copy.row_of(columns.id_of(row)) for row in range(1, copy.row_count)] == list(range(1, copy.row_count))
    assert copy.normal_ids == columns.normal_ids
    assert copy.item_count == columns.item_count


def test_many_rows_are_added_after_the_start() -> None:
    copy = ItemColumns(listed_only=False)
    import_columns(copy, *exported(filled([Item(f"i{number}", f"title {number}") for number in range(3_000)])))
    for number in range(3_000, 9_000):
        copy.put(copy.add_row(f"i{number}"), Item(f"i{number}", f"title {number}"))
    assert all(
        copy.get(copy.row_of(f"i{number}")) == Item(f"i{number}", f"title {number}") for number in range(0, 9_000, 3)
    )
    assert (copy.shown.data[copy.row_count :] == 1).all()


@pytest.mark.parametrize("listed_only", [False, True])
def test_setting_of_this_start_decides_on_items_without_entry(listed_only: bool) -> None:
    copy = ItemColumns(listed_only)
    import_columns(copy, *exported(filled([Item("a"), Item("b", available=False)], not listed_only)))
    shown = {copy.id_of(row): bool(copy.shown.data[row]) for row in range(1, copy.row_count)}
    assert shown == {"only in a model": not listed_only, "e\u0301": not listed_only, "a": True, "b": False}
    assert copy.shown.data[0] == 0
    assert copy.shown.data[copy.add_row("new")] == (not listed_only)


def test_incomplete_snapshot_leaves_the_columns_empty() -> None:
    description, arrays = exported(filled([Item("a", "title", ("x",), attributes={"price": 1.0})]))
    damaged: list[tuple[dict[str, Any], Arrays]] = [
        ({**description, "format": 2}, arrays),
        ({**description, "rows": 10_000}, arrays),
        ({**description, "columns": description["columns"][:2]}, arrays),
        ({**description, "columns": [*description["columns"], ["price", "bool"]]}, arrays),
    ]
    damaged += [(description, {name: array for name, array in arrays.items() if name != lost}) for lost in arrays]
    damaged += [({key: value for key, value in description.items() if key != lost}, arrays) for lost in description]
    for each in damaged:
        columns = ItemColumns(listed_only=False)
        with pytest.raises((KeyError, ValueError, TypeError, IndexError)):
            import_columns(columns, *each)
        assert columns.row_count == 1 and columns.item_count == 0
        assert columns.add_row("a") == 1
