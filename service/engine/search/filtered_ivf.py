"""Approximate search of the rows that a filter allows, on a CPU.

Each row is in the list of its direction. It has a part along the list's direction, whose product with a query is
known without reading the row, and a part across it, whose product scatters around zero by an amount that is known.
The known product, plus some deviations for the other, bounds nearly all scores. A row whose bound is not above the
k-th best score so far is not read. In the same way the mean direction of a list, plus some deviations, bounds the
scores of a length. Rows are in order of length, so most lists end early.

Lists are visited in order of their bounds, whatever the filter; a row that it forbids costs the test of one bit. No
row is left out while there are fewer than k, so a short result is complete.

How many deviations are enough is measured when the index is built, as what misses at most one in 500 of the best rows
at several depths. The best ten of a filter are among the best thousand of all rows if it allows one in 100.
"""

from __future__ import annotations

import numpy as np

from model.compiled.array_types import F32, I64
from service.core.engine_requests import AllowedRows
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.filtered_ivf_kernels import LEAST_ACROSS, scan_allowed, search_lists, split_rows
from service.engine.search.top_k_queries import TopKQueries, TopKResult

# Share of all rows up to which the bounds of all allowed rows are compared, instead of visiting the lists.
SCANNED_SHARE = 0.025
# Share of the best rows that the margin may miss.
_MISSED = 0.002
_DEPTHS = (10, 100, 1000)
_SAMPLES = 64
# Rows on which the scatter is measured.
_SCATTER_ROWS = 1 << 16
# Estimated seconds on a core of 2024: of a query, and of each row.
_LISTS_SECONDS = 4e-5
_SCANNED_ROW_SECONDS, _TESTED_ROW_SECONDS, _READ_ROW_SECONDS = 4e-8, 8e-9, 4e-8
_TINY, _UNBOUNDED = np.float32(1e-30), np.float32(1e6)


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
        self._table, self._list_margin, self._row_margin = table, _UNBOUNDED, _UNBOUNDED
        norms = np.linalg.norm(directions, axis=1, keepdims=True)
        self._directions: F32 = (directions / np.maximum(norms, _TINY)).astype(np.float32)
        # Numbers that are used together stand together, so that a row waits for memory once.
        self._lists = np.zeros((len(table), 3), np.int32)
        self._lists[:, 0] = list_of_row
        self._row_parts: F32 = self._lists.view(np.float32)
        split_rows(table, self._lists, self._directions, self._row_parts)
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(list_of_row[1:], minlength=len(directions)))])
        rows = 1 + np.argsort(list_of_row[1:], kind="stable")
        self._rows = self._lists[rows]
        self._rows[:, 0] = rows
        self._parts: F32 = self._rows.view(np.float32)
        self._shapes = np.full((len(directions), 4), -1, np.float32)
        for number, (start, end) in enumerate(zip(self._starts[:-1], self._starts[1:], strict=True)):
            if start < end:
                self._shapes[number] = self._sort_list(start, end)
        self._covariance = self._measure_covariance()

    @classmethod
    def build(cls, table: F32, list_of_row: I64, directions: F32, samples: F32) -> BoundedLists:
        """Sort the rows, and measure the margins with queries (S, D)."""
        found = cls(table, list_of_row, directions)
        found._measure_margins(list_of_row, samples[:_SAMPLES])
        for share in (0.0, 1.0):  # no request then waits for the compiler
            found.top_k(
                TopKQueries.without_exclusions(samples[:1], 1), AllowedRows.of(np.full(len(table), share > 0))
            )
        return found

    def top_k(self, queries: TopKQueries, allowed: AllowedRows) -> tuple[TopKResult, float]:
        """Return the best allowed rows, and the seconds that a core needs.

        Rows that their bounds hide are missing.
        """
        result = TopKResult.allocate(queries, len(self._table) - 1)
        closeness, scatter = queries.vectors @ self._directions.T, self._scatter(queries.vectors)
        if allowed.count <= SCANNED_SHARE * len(self._table):
            reaches = self._row_margin * scatter
            scan_allowed(
                self._table, self._lists, self._row_parts, closeness, reaches, queries[:5], allowed.bitmap, result[:]
            )
            return result, _SCANNED_ROW_SECONDS * allowed.count * len(queries.k)
        effort = np.zeros(2, np.int64)
        search_lists(
            self._table,
            self._starts,
            self._rows,
            self._parts,
            self._shapes,
            closeness,
            scatter,
            self._list_margin,
            self._row_margin,
            queries[:5],
            allowed.bitmap,
            result[:],
            effort,
        )
        seconds = _LISTS_SECONDS * len(queries.k) + _TESTED_ROW_SECONDS * effort[0] + _READ_ROW_SECONDS * effort[1]
        return result, float(seconds)

    def _sort_list(self, start: int, end: int) -> tuple[float, ...]:
        """Sort a list by length; return its shape for `search_lists`."""
        along, across = self._parts[start:end, 1], self._parts[start:end, 2]
        lengths = np.hypot(along, across)
        mean = float((along / lengths).mean())
        self._rows[start:end] = self._rows[start:end][np.argsort(-lengths, kind="stable")]
        return mean, max(1 - mean * mean, float(LEAST_ACROSS)) ** 0.5, lengths.max(), lengths.min()

    def _scatter(self, vectors: F32) -> F32:
        """Return the deviation (Q,) of products with unit parts across."""
        variance = ((vectors @ self._covariance) * vectors).sum(axis=1)
        scatter: F32 = np.sqrt(np.maximum(variance, _TINY))
        return scatter

    def _measure_covariance(self) -> F32:
        """Return the covariance (D, D) of unit parts across the lists."""
        positions = np.arange(0, len(self._rows), max(1, len(self._rows) // _SCATTER_ROWS))
        lists = np.searchsorted(self._starts, positions, "right") - 1
        along, across = self._parts[positions, 1:2], self._parts[positions, 2:3]
        rest = (self._table[self._rows[positions, 0]] - along * self._directions[lists]) / np.maximum(across, _TINY)
        covariance: F32 = (rest.T @ rest / len(positions)).astype(np.float32)
        return covariance

    def _measure_margins(self, list_of_row: I64, samples: F32) -> None:
        """Set margins that reach nearly all best rows of some queries."""
        items = len(self._table) - 1
        depths = sorted({min(depth, items) for depth in _DEPTHS})
        best = exact_top_k(self._table, TopKQueries.without_exclusions(samples, depths[-1]))
        vectors, lists = self._table[best.rows], list_of_row[best.rows]
        directions, squares = self._directions[lists], (vectors * vectors).sum(axis=2)
        along = (vectors * directions).sum(axis=2)
        across = np.sqrt(np.maximum(squares - along * along, LEAST_ACROSS * squares))
        closeness = (directions @ samples[:, :, None])[:, :, 0]
        scatter = self._scatter(samples)[:, None]
        means, spreads = self._shapes[lists, 0], self._shapes[lists, 1]
        margins = []
        for depth in depths:
            least = best.scores[:, depth - 1 : depth]
            by_list = (least / np.sqrt(squares) - closeness * means) / (scatter * spreads)
            by_row = (least - closeness * along) / (scatter * across)
            margins.append([np.quantile(needed[:, :depth], 1 - _MISSED / 2) for needed in (by_list, by_row)])
        self._list_margin, self._row_margin = np.max(margins, axis=0).astype(np.float32)
