"""Codes of rows: estimates, and margins that bound their errors."""

from __future__ import annotations

import numpy as np
import pytest

from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.gathered.row_codes import RowCodes
from service.engine.search.queries import TopKQueries
from tests.engine.search.test_ivf_pq import catalogue


@pytest.mark.parametrize("dim", [24, 7])
def test_estimates_are_products_with_the_nearest_levels(dim: int) -> None:
    table, queries = catalogue(3000, dim)
    levels = np.quantile(table, (np.arange(16) + 0.5) / 16, axis=0).T.astype(np.float32)
    codes = RowCodes.build(table, levels[:, ::-1], queries[:30])  # in any order
    rows = np.array([5, 17, 2999, 6], np.int32)
    estimates, places = codes.index(rows).search(queries[30:34], 4)
    nearest = np.abs(table[rows][:, :, None] - levels).argmin(axis=2)
    vectors = levels[np.arange(dim), nearest]
    for n in range(4):
        wanted = vectors[places[n]] @ queries[30 + n]
        assert estimates[n] == pytest.approx(wanted, abs=0.02 * np.abs(queries[30 + n]).sum())
        assert (np.diff(estimates[n]) <= 0).all()


def test_margin_reaches_nearly_all_best_rows_of_other_queries() -> None:
    table, queries = catalogue(4000)
    levels = np.quantile(table, (np.arange(16) + 0.5) / 16, axis=0).T.astype(np.float32)
    codes = RowCodes.build(table, levels, queries[:30])
    index, everything = (
        codes.index(np.arange(1, 4001, dtype=np.int32)),
        TopKQueries.without_exclusions(queries[30:], 50),
    )
    best, margins, missed = exact_top_k(table, everything), codes.margins(queries[30:]), 0
    for n, rows in enumerate(best.rows):
        estimates, places = index.search(queries[30 + n : 31 + n], 4000)
        by_row = np.empty(4001)
        by_row[1 + places[0]] = estimates[0]
        missed += int((by_row[rows] + margins[n] < best.scores[n]).sum())
    assert missed <= 0.01 * best.rows.size
    assert (margins < best.scores[:, 0]).all(), "a margin as large as the scores would tell nothing"
