"""Synthetic catalogue and queries of the search benchmark."""

from __future__ import annotations

import numpy as np

from loadtests.micro.engine_search import synthetic_catalogue, top_10_queries, torch_top_10
from service.engine.search.exact_top_k import exact_top_k


def test_queries_exclude_the_seen_rows() -> None:
    table, vectors = synthetic_catalogue(400)
    assert (table.shape, vectors.shape) == ((401, 64), (256, 64))
    without = exact_top_k(table, top_10_queries(vectors[:4])).rows
    rows = exact_top_k(table, top_10_queries(vectors[:4], seen=200)).rows
    assert rows.shape == without.shape == (4, 10)
    assert rows.min() > 200
    assert without.min() <= 200
    best = np.argsort(-(vectors[0] @ table[1:].T))[:10] + 1
    assert set(without[0].tolist()) == set(best.tolist())


def test_torch_reference_runs() -> None:
    table, vectors = synthetic_catalogue(400)
    reference = torch_top_10(table, vectors[:4])
    assert reference is not None
    reference()
