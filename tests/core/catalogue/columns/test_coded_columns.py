import numpy as np
import pytest

from service.core.catalogue.columns.coded_columns import SetColumn, TextColumn


@pytest.mark.parametrize(
    ("column", "values"), [(TextColumn(), ["a", None, "b", "a"]), (SetColumn(), [("a", "b"), None, (), ("b",)])]
)
def test_compacted_column_has_the_same_values(column: TextColumn | SetColumn, values: list[object]) -> None:
    column.array.resize(8)
    for replaced in ("x", "y"):
        column.put(0, (replaced,) if isinstance(column, SetColumn) else replaced)
    for row, value in enumerate(values):
        column.put(row, value)
    compacted = column.compacted()
    assert [compacted.get(row) for row in range(8)] == [column.get(row) for row in range(8)]
    assert compacted.nbytes <= column.nbytes
    compacted.put(5, values[0])
    assert compacted.codes.data[5] == compacted.codes.data[0]


def test_values_encoded_together_are_those_put_one_by_one() -> None:
    texts = ["a", None, "e\u0301", "b", "a", "é"]
    text = TextColumn()
    text.array.resize(8)
    text.array.write(np.arange(6), text.encode(texts))
    assert [text.get(row) for row in range(6)] == ["a", None, "é", "b", "a", "é"]
    assert len(text.table) == 3
    sets: list[tuple[str, ...] | None] = [("b", "a"), None, (), ("a",), ("a", "b"), ("c",)]
    column = SetColumn()
    column.array.resize(8)
    column.put(7, ("a",))
    column.array.write(np.arange(6), column.encode(sets))
    assert [column.get(row) for row in range(6)] == [("a", "b"), None, (), ("a",), ("a", "b"), ("c",)]
    assert column.codes.data[7] == column.codes.data[3]
    assert (len(column.table), len(column.members)) == (4, 3)
    assert column.sets_with(column.members.find(b"a")).tolist() == [False, True, True, False, False]
