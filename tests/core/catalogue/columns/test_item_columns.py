"""Items that are written together, and one by one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.catalogue.columns.item_batch import decode_batch
from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.items import Item, to_record
from tests.core.catalogue.expressions import items


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(items, max_size=6), max_size=4), st.booleans())
def test_items_written_together_are_those_put_one_by_one(batches: list[list[Item]], listed_only: bool) -> None:
    together, single = ItemColumns(listed_only), ItemColumns(listed_only)
    for batch in batches:
        distinct = {item.item_id: item for item in batch}
        rows = together.add_rows(list(distinct))
        together.write(together.encode(rows, decode_batch(list(map(to_record, distinct.values())))))
        for item_id, item in distinct.items():
            single.put(single.add_row(item_id), item)
        assert together.item_count == single.item_count
    assert together.row_count == single.row_count
    for row in range(1, together.row_count):
        assert together.id_of(row) == single.id_of(row)
        assert together.get(row) == single.get(row)
        for one, other in zip(together.row_arrays()[:3], single.row_arrays()[:3], strict=True):
            assert one.data[row] == other.data[row]
    assert together.normal_ids == single.normal_ids


def test_forgotten_rows_are_as_before_their_first_entry() -> None:
    columns = ItemColumns(listed_only=False)
    rows = columns.add_rows(["a", "b", "c"])
    new = [array.data[:4].copy() for array in columns.arrays()]
    for row, deleted in zip(rows.tolist(), (False, True, False), strict=True):
        columns.put(row, Item(columns.id_of(row), "title", ("x",), attributes={"price": 1.0}, deleted=deleted))
    assert columns.item_count == 2
    columns.forget(rows[:2])
    assert columns.item_count == 1
    for before, array in zip(new, columns.arrays(), strict=False):
        assert before[:3].tolist() == array.data[:3].tolist()
    assert columns.get(1) is None and columns.get(3) is not None


def test_rows_of_consecutive_and_of_other_items_are_found() -> None:
    columns = ItemColumns(listed_only=False)
    ids = [f"item-{number}" for number in range(5_000)]
    assert columns.add_rows(ids).tolist() == list(range(1, 5_001))
    assert columns.rows_of(ids[100:200]).tolist() == list(range(101, 201))
    assert columns.rows_of([*ids[100:200], "other", ids[0]]).tolist() == [*range(101, 201), 0, 1]
    assert columns.rows_of([]).tolist() == []
