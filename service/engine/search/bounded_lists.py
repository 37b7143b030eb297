"""Approximate search of the rows that a filter allows, on a CPU.

Each row is in the list of its direction, and has a part along the list's direction and a part across it. The product
of a query with the first part is known without reading the row. That with the second scatters around zero, by an
amount that is known for the query and the part's length. The sum, with `margin` times the scatter, bounds nearly all
scores: rows whose bound is not above the k-th best score so far are not read.

Lists are visited in order of their bounds, whatever the filter; a row that it forbids costs the test of one bit. No
row is left out while there are fewer than k, so a short result is complete. The margin is measured when the index is
built: it misses at most one in 500 of the best rows at several depths. The best ten of a filter are among the best
thousand of all rows if it allows one in 100.
"""

from __future__ import annotations

import numpy as np

from service.core.engine_requests import AllowedRows
from service.engine.arrays import F32, I64
from service.engine.search.bounded_kernels import LEAST_ACROSS, search_lists, split_rows
from service.engine.search.exact import exact_top_k
from service.engine.search.queries import TopKQueries, TopKResult

# Share of the best rows that the margin may miss.
_MISSED = 0.002
_DEPTHS = (10, 100, 1000)
_SAMPLES = 64
# Rows on which the scatter is measured.
_SCATTER_ROWS = 1 << 16
_TINY = np.float32(1e-30)


class BoundedLists:
    """Lists of a table (V + 1, D).

    Immutable after `build`, and safe to share between threads.
    """

    def __init__(self, table: F32, list_of_row: I64, directions: F32) -> None:
        """Sort the rows.

        Args:
            table: item vectors (V + 1, D), row 0 unused.
            list_of_row: (V + 1,) the list of each row; the first entry is ignored.
            directions: (L, D) the direction of each list.
        """
        self._table, self.margin = table, np.inf
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        self._directions: F32 = (directions / np.maximum(lengths, _TINY)).astype(np.float32)
        self._rows = 1 + np.argsort(list_of_row[1:], kind="stable").astype(np.int32)
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(list_of_row[1:], minlength=len(directions)))])
        self._along, self._across = np.empty(len(self._rows), np.float32), np.empty(len(self._rows), np.float32)
        split_rows(table, self._rows, self._starts, self._directions, self._along, self._across)
        self._widest = np.zeros(len(directions), np.float32)
        for number, (start, end) in enumerate(zip(self._starts[:-1], self._starts[1:], strict=True)):
            order = start + np.argsort(-self._along[start:end], kind="stable")
            for array in (self._rows, self._along, self._across):
                array[start:end] = array[order]
            self._widest[number] = self._across[start:end].max(initial=0)
        self._covariance = self._measure_covariance()

    @classmethod
    def build(cls, table: F32, list_of_row: I64, directions: F32, samples: F32) -> BoundedLists:
        """Sort the rows, and measure the margin with queries (S, D)."""
        found = cls(table, list_of_row, directions)
        found.margin = found._measure_margin(list_of_row, samples[:_SAMPLES])
        return found

    def top_k(self, queries: TopKQueries, allowed: AllowedRows) -> TopKResult:
        """Return the best allowed rows, except those that their bounds hide."""
        result = TopKResult.allocate(queries, len(self._table) - 1)
        search_lists(
            self._table,
            self._rows,
            self._starts,
            self._along,
            self._across,
            self._widest,
            queries.vectors @ self._directions.T,
            self.margin * self._scatter(queries.vectors),
            *queries[:5],
            allowed.bitmap,
            *result,
        )
        return result

    def _scatter(self, vectors: F32) -> F32:
        """Return the deviation (Q,) of products with parts across a list of length one."""
        variance = ((vectors @ self._covariance) * vectors).sum(axis=1)
        scatter: F32 = np.sqrt(np.maximum(variance, _TINY))
        return scatter

    def _measure_covariance(self) -> F32:
        """Return the covariance (D, D) of the parts across the lists, for length one."""
        places = np.arange(0, len(self._rows), max(1, len(self._rows) // _SCATTER_ROWS))
        lists = np.searchsorted(self._starts, places, "right") - 1
        parts = self._table[self._rows[places]] - self._along[places, None] * self._directions[lists]
        parts /= np.maximum(self._across[places, None], _TINY)
        covariance: F32 = (parts.T @ parts / len(places)).astype(np.float32)
        return covariance

    def _measure_margin(self, list_of_row: I64, samples: F32) -> np.float32:
        """Return the margin that reaches nearly all of the best rows."""
        items, margin = len(self._table) - 1, 0.0
        depths = sorted({min(depth, items) for depth in _DEPTHS})
        best = exact_top_k(self._table, TopKQueries.without_exclusions(samples, depths[-1]))
        vectors, directions = self._table[best.rows], self._directions[list_of_row[best.rows]]
        along = (vectors * directions).sum(axis=2)
        whole = (vectors * vectors).sum(axis=2)
        across = np.sqrt(np.maximum(whole - along * along, LEAST_ACROSS * whole))
        expected = along * (directions @ samples[:, :, None])[:, :, 0]
        scatter = np.maximum(self._scatter(samples)[:, None] * across, _TINY)
        for depth in depths:
            needed = (best.scores[:, depth - 1 : depth] - expected[:, :depth]) / scatter[:, :depth]
            margin = max(margin, float(np.quantile(needed, 1 - _MISSED)))
        return np.float32(margin)
