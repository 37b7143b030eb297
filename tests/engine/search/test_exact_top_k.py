"""Exact search of both engines against a stable sort."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.compiled.array_types import F32
from service.engine.cuda.cuda_search import CudaSearch
from service.engine.search.exact_top_k import exact_target_ranks, exact_top_k
from service.engine.search.top_k_queries import TopKQueries, TopKResult


@given(
    st.lists(
        st.sampled_from([-np.inf, -1.0, 0.0, 1.0]) | st.floats(-(2.0**100), 2.0**100, width=32),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 70),
)
@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("search", [exact_top_k, lambda table, q: CudaSearch(torch.from_numpy(table)).top_k(q)])
def test_top_k_is_the_head_of_a_stable_sort(
    search: Callable[[F32, TopKQueries], TopKResult], values: list[float], k: int
) -> None:
    scores = np.array(values, np.float32)
    wanted = sorted((n for n in range(len(values)) if values[n] != -np.inf), key=lambda n: (-scores[n], n))[:k]
    table = np.concatenate([[0], scores])[:, None].astype(np.float32)
    best = search(table, TopKQueries.without_exclusions(np.ones((1, 1), np.float32), k))
    assert (best.rows[0, : best.lengths[0]] - 1).tolist() == wanted


def queries_with_exclusions(count: int, rows: int) -> TopKQueries:
    """One-dimensional queries that exclude rows, a few of them twice."""
    rng = np.random.default_rng(count)
    excluded = [rng.integers(1, rows, int(size)) for size in rng.integers(0, rows, count)]
    ends = np.cumsum([len(part) for part in excluded])
    return TopKQueries(
        rng.choice([-1.0, 1.0], (count, 1)).astype(np.float32),
        rng.integers(0, rows + 5, count),
        np.concatenate(excluded).astype(np.uint32),
        np.concatenate([[0], ends[:-1]]),
        ends,
    )


# More rows than a block of the search; few different scores, so that there are ties.
TABLE = np.random.default_rng(0).integers(0, 9, (1300, 1)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_excluded_rows_are_never_returned(count: int) -> None:
    queries = queries_with_exclusions(count, len(TABLE))
    result = exact_top_k(TABLE, queries)
    for q, excluded in enumerate(queries.excluded_rows()):
        scores = (TABLE @ queries.vectors[q]).astype(np.float32)
        allowed = np.setdiff1d(np.arange(1, len(TABLE)), excluded)
        wanted = allowed[np.lexsort((allowed, -scores[allowed]))][: queries.k[q]]
        assert result.rows[q, : result.lengths[q]].tolist() == wanted.tolist()
        assert np.array_equal(result.scores[q, : result.lengths[q]], scores[wanted])


@pytest.mark.parametrize("trained", [len(TABLE), 5])  # the rows from there on are appended ones
@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_target_rank_is_the_position_in_the_sort(count: int, trained: int) -> None:
    queries = queries_with_exclusions(count, len(TABLE))
    targets = np.random.default_rng(count + 1).integers(1, len(TABLE), count)
    ranks = exact_target_ranks(TABLE[:trained], TABLE[trained:], queries, targets)
    for q, excluded in enumerate(queries.excluded_rows()):
        rows = np.arange(1, len(TABLE))
        order = rows[np.lexsort((rows, -(TABLE @ queries.vectors[q])[1:]))].tolist()
        assert ranks.among_all[q] == order.index(targets[q]) + 1
        unseen = [row for row in order if row not in set(excluded.tolist())]
        assert ranks.among_unseen[q] == (unseen.index(targets[q]) + 1 if targets[q] in unseen else 0)


def test_scale_multiplies_the_score_of_each_row() -> None:
    scale = np.array([0, 1, -1, 3], np.float32)
    result = exact_top_k(
        np.ones((4, 2), np.float32), TopKQueries.without_exclusions(np.ones((1, 2), np.float32), 3), scale
    )
    assert result.rows.tolist() == [[3, 1, 2]]
    assert result.scores.tolist() == [[6, 2, -2]]
