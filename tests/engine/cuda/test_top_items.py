"""Answers that become items when they are read."""

from __future__ import annotations

import numpy as np

from service.core.engine_requests import ScoredItem
from service.engine.cuda.top_items import AnswerBatch, TopItems

IDS = ["", "a", "b", "c"]


def answer(query: int) -> TopItems:
    rows, scores = np.array([[3, 1, 2], [2, 0, 0]], np.int32), np.array([[3, 2, 1], [7, 0, 0]], np.float32)
    return TopItems(AnswerBatch(IDS, rows, scores, np.array([3, 1])), query)


def test_items_are_those_of_the_rows() -> None:
    first = (ScoredItem("c", 3.0), ScoredItem("a", 2.0), ScoredItem("b", 1.0))
    assert tuple(answer(0)) == first
    assert all(type(item) is ScoredItem and type(item.score) is float and item.eligible for item in answer(0))
    assert answer(0)[1] == first[1] and answer(0)[1:] == first[1:]
    assert [len(answer(query)) for query in (0, 1)] == [3, 1]


def test_answers_are_equal_to_tuples_and_to_each_other() -> None:
    assert answer(1) == (ScoredItem("b", 7.0),)
    assert (ScoredItem("b", 7.0),) == answer(1)
    assert answer(0) == answer(0) and hash(answer(0)) == hash(tuple(answer(0)))
    assert answer(0) != answer(1)
    assert answer(0) != [*answer(0)]
