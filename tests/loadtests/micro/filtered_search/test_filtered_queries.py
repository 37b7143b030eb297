"""Queries of the filtered search benchmark."""

from __future__ import annotations

import numpy as np
import pytest

from loadtests.micro.engine_search import synthetic_catalogue
from loadtests.micro.filtered_search.filtered_queries import (
    KINDS,
    Categories,
    Kind,
    filtered_queries,
    forbidden,
    recall,
)
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.top_k_queries import TopKResult


@pytest.mark.parametrize("kind", KINDS)
def test_filters_allow_their_share_of_liked_or_disliked_items(kind: Kind) -> None:
    table, vectors = synthetic_catalogue(3000)
    queries = filtered_queries(Categories(table), vectors[:20], kind, 0.1)
    assert len(queries.filters) == 20
    assert {allowed.count for allowed in queries.filters} == {300}
    scores = np.mean(
        [
            (table @ user)[allowed.mask(3001)].mean()
            for user, allowed in zip(vectors[:20], queries.filters, strict=True)
        ]
    )
    mean = float(np.mean(vectors[:20] @ table[1:].T))
    assert {"random": abs(scores - mean) < 0.3, "liked": scores > mean + 0.5, "disliked": scores < mean - 0.5}[kind]


def test_recall_and_forbidden_rows_are_counted() -> None:
    table, vectors = synthetic_catalogue(3000)
    queries = filtered_queries(Categories(table), vectors[:20], "random", 0.5)
    right, wrong = exact_top_k(table, queries), exact_top_k(table, queries.unfiltered())
    assert (recall(right, right), forbidden(queries, right)) == (1.0, 0)
    assert recall(wrong, right) < 0.8
    assert forbidden(queries, wrong) > 100
    nothing = TopKResult(right.rows, right.scores, np.zeros_like(right.lengths))
    assert (recall(nothing, right), forbidden(queries, nothing)) == (0.0, 0)
