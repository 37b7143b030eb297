from __future__ import annotations

import pyarrow as pa
import pytest

from ingest.reading.values.type_texts import TypeReader, read_values


def test_types_are_texts_or_what_texts_and_numbers_stand_for() -> None:
    reader = TypeReader({"addtocart": "cart", "5": "like", "Buy it": "purchase"})
    found = reader.read(pa.array(["addtocart", "view", None, "dislike", " Buy it "]))
    assert found.values.to_pylist() == ["cart", None, None, "dislike", "purchase"]
    assert not found.bad.any() and found.reason == ""
    for numbers in (pa.array([5, None, 5]), pa.array([5.0, None, 5.0])):
        assert TypeReader({"5": "like"}).read(numbers).values.to_pylist() == ["like", None, "like"]
    assert TypeReader({}).read(pa.nulls(2, pa.string())).values.to_pylist() == [None, None]


@pytest.mark.parametrize("text", ["Buy", "add-to-cart", "a" * 33, "3"])
def test_text_that_is_no_type_is_bad(text: str) -> None:
    found = TypeReader({}).read(pa.array(["cart", text, None]))
    assert found.bad.tolist() == [False, True, False]
    assert found.values.to_pylist() == ["cart", None, None]
    assert "--map-types" in found.reason


def test_values_are_numbers_or_missing() -> None:
    found = read_values(pa.array(["49.90", None, " -2 ", "1e3"]))
    assert (found.values.to_pylist(), found.reason) == ([49.9, None, -2.0, 1000.0], "")
    assert read_values(pa.array([1, None])).values.to_pylist() == [1.0, None]
    assert read_values(pa.nulls(2, pa.string())).values.to_pylist() == [None, None]


@pytest.mark.parametrize("text", ["dear", "nan", "inf", "1e13", "1,5"])
def test_value_that_is_no_finite_number_is_bad(text: str) -> None:
    found = read_values(pa.array(["1", text, None]))
    assert found.bad.tolist() == [False, True, False]
    assert found.reason == "is no number from -1e+12 to 1e+12"
