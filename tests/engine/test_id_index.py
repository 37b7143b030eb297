"""Rows of item ids in compiled code, against a dictionary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine import id_index
from service.engine.id_index import IdIndex

_IDS = st.text(max_size=12)


def expected_rows(rows: dict[str, int], histories: list[list[str]]) -> tuple[list[int], list[int]]:
    known = [[rows[item_id] for item_id in history if item_id in rows] for history in histories]
    return [row for history in known for row in history], [len(history) for history in known]


def found_rows(rows: dict[str, int], histories: list[list[str]]) -> tuple[list[int], list[int]]:
    (known,) = IdIndex(rows).known_rows([histories])
    assert (known.rows.dtype, known.lengths.dtype) == (np.uint32, np.int64)
    return known.rows.tolist(), known.lengths.tolist()


@settings(max_examples=200, deadline=None)
@given(ids=st.lists(_IDS, unique=True, max_size=20), data=st.data())
def test_rows_of_any_ids_equal_a_dictionary_s(ids: list[str], data: st.DataObject) -> None:
    rows = {item_id: row for row, item_id in enumerate(ids, start=1)}
    item = st.sampled_from(ids) | _IDS if ids else _IDS
    histories = data.draw(st.lists(st.lists(item, min_size=1, max_size=6), max_size=6))
    assert found_rows(rows, histories) == expected_rows(rows, histories)


@pytest.mark.parametrize("part_events", [1, 7, 1000])
def test_histories_in_several_parts_keep_their_order(monkeypatch: pytest.MonkeyPatch, part_events: int) -> None:
    monkeypatch.setattr(id_index, "_PART_EVENTS", part_events)
    rng = np.random.default_rng(0)
    rows = {f"item-{n}": n for n in range(1, 400)}
    histories = [[f"item-{n}" for n in rng.integers(1, 500, length)] for length in rng.integers(1, 9, 60)]
    assert found_rows(rows, histories) == expected_rows(rows, histories)


@pytest.mark.parametrize("odd", ["a\nb", "\n", "\n\n", ""])
def test_id_with_the_separator_is_one_id(odd: str) -> None:
    rows = {"a": 1, odd: 2, "b": 3}
    assert found_rows(rows, [["a", odd, "b"], [odd], ["b"]]) == ([1, 2, 3, 2, 3], [3, 1, 1])
    assert found_rows({"a": 1, "b": 2}, [["a", odd, "b"], ["b"]]) == ([1, 2, 2], [2, 1])


def test_lone_surrogate_is_an_id_like_others() -> None:
    assert found_rows({"\ud800": 1, "ü": 2}, [["ü", "\ud800", "\udfff"]]) == ([2, 1], [2])


def test_chunks_are_answered_in_order() -> None:
    index = IdIndex({"a": 1, "b": 2})
    chunks = [[["a"]], [["b", "b"], ["x"]], [], [["b", "a"]]]
    found = [(known.rows.tolist(), known.lengths.tolist()) for known in index.known_rows(chunks)]
    assert found == [([1], [1]), ([2, 2], [2, 0]), ([], []), ([2, 1], [2])]


def test_no_histories_have_no_rows() -> None:
    assert found_rows({"a": 1}, []) == ([], [])
