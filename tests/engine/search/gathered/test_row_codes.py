"""Codes of rows: estimates, and margins that bound their errors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.gathered.row_codes import RowCodes
from service.engine.search.top_k_queries import TopKQueries
from tests.engine.search.gathered.test_gathered_rows import codes_of
from tests.engine.search.test_ivf_pq import catalogue


@pytest.mark.parametrize("dim", [24, 7])
def test_estimates_are_products_with_the_nearest_levels(dim: int) -> None:
    table, queries = catalogue(3000, dim)
    codes = RowCodes.build(table, np.array([1, 2]), queries[:30])
    rows = np.array([5, 17, 2999, 6], np.int32)
    estimates, positions = codes.index(rows).search(queries[30:34], 4)
    levels = codes._levels
    nearest = np.abs(table[rows][:, :, None] - levels).argmin(axis=2)
    vectors = levels[np.arange(dim), nearest]
    for n in range(4):
        wanted = vectors[positions[n]] @ queries[30 + n]
        assert estimates[n] == pytest.approx(wanted, abs=float(0.02 * np.abs(queries[30 + n]).sum()))
        assert (np.diff(estimates[n]) <= 0).all()


def test_margin_reaches_nearly_all_best_rows_of_other_queries() -> None:
    table, queries = catalogue(4000)
    codes = codes_of(table, queries[:30])
    coded = np.flatnonzero(codes.has_codes[1:]).astype(np.int32) + 1
    index, best = codes.index(coded), exact_top_k(table, TopKQueries.without_exclusions(queries[30:], 50))
    margins, missed, tested = codes.margins(queries[30:]), 0, 0
    for n, rows in enumerate(best.rows):
        estimates, positions = index.search(queries[30 + n : 31 + n], len(coded))
        by_row = np.zeros(4001)
        by_row[coded[positions[0]]] = estimates[0]
        best_coded = codes.has_codes[rows]
        missed += int((by_row[rows] + margins[n] < best.scores[n])[best_coded].sum())
        tested += int(best_coded.sum())
    assert tested > 1000
    assert missed <= 0.01 * tested
    assert (margins < best.scores[:, 0]).all(), "a margin as large as the scores would tell nothing"


def test_search_keeps_to_its_own_thread() -> None:
    table, queries = catalogue(3000)
    codes = codes_of(table, queries[:30])
    index = codes.index(np.arange(1, 3001, dtype=np.int32))

    def threads_of_a_new_thread() -> tuple[int, int]:
        faiss = codes._faiss
        faiss.omp_set_num_threads(3)
        before = faiss.omp_get_max_threads()
        codes.search(index, queries, 10)
        return before, faiss.omp_get_max_threads()

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(threads_of_a_new_thread).result() == (3, 1)
