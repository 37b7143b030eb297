"""Search under a filter, for catalogues with an index.

Chooses among four ways. Rows of filters that are used often are gathered (`gathered`). Until then, and for filters
with too many rows, there are three: few allowed rows are all scored. If many are allowed, enough of the best of all
rows are among them. Others are found by bounds (`filtered_ivf`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from model.compiled.array_types import F32, I64
from service.core.engine_requests import AllowedRows
from service.engine.search.filtered_exact import allowed_top_k
from service.engine.search.filtered_ivf import BoundedLists
from service.engine.search.gathered.gathered_cache import GatheredCache
from service.engine.search.gathered.gathered_rows import GatheredRows
from service.engine.search.gathered.row_codes import RowCodes
from service.engine.search.top_k_queries import TopKQueries, TopKResult

# Up to so many allowed rows are all scored.
EXACT_ROWS = 2048
# More rows are not gathered: they take too much memory.
GATHERED_ROWS = 1 << 18
# From this share of the rows on, the best of all rows are searched first: so many times as many as are expected to
# hold enough allowed ones, and a number.
COMMON_SHARE = 0.25
_COMMON_FACTOR, _EXTRA_COMMON = 3, 20
# Estimated seconds on a core of 2024.
_COMMON_SECONDS, _READ_ROW_SECONDS, _BITMAP_ROW_SECONDS = 4e-4, 4e-8, 3e-11


Search = Callable[[TopKQueries], TopKResult]


class FilteredIndex:
    """Search of the rows that a filter allows.

    Safe to share between threads.
    """

    def __init__(self, table: F32, bounded: BoundedLists, gathered: GatheredCache) -> None:
        self._table, self._bounded, self._gathered = table, bounded, gathered

    @classmethod
    def build(cls, table: F32, list_of_row: I64, directions: F32, long_rows: I64, samples: F32) -> FilteredIndex:
        """Prepare the ways.

        Args:
            table: item vectors (V + 1, D), row 0 unused.
            list_of_row: (V + 1,) the list of each row; the first entry is ignored.
            directions: (L, D) the direction of each list.
            long_rows: rows that are much longer than others.
            samples: queries (S, D) on which margins are measured.
        """
        bounded = BoundedLists.build(table, list_of_row, directions, samples)
        codes = RowCodes.build(table, long_rows, samples)
        nothing, again = (AllowedRows.of(np.zeros(len(table), np.bool_)) for _ in range(2))
        # No request then waits for the compiler.
        GatheredRows(table, codes, nothing).top_k(TopKQueries.without_exclusions(samples[:1], 1), again)
        return cls(table, bounded, GatheredCache(partial(GatheredRows, table, codes)))

    def top_k(self, queries: TopKQueries, allowed: AllowedRows, unfiltered: Search) -> TopKResult:
        """Return the best allowed rows, except a few that no way proposes.

        `unfiltered` searches all rows, and may find too few.
        """
        gathered = self._gathered.find(allowed) if allowed.count <= GATHERED_ROWS else None
        if gathered is None:
            result, seconds = self._search_all(queries, allowed, unfiltered)
            if allowed.count <= GATHERED_ROWS:
                self._gathered.spent(allowed, len(queries.k), seconds)
            return result
        result, left = gathered.top_k(queries, allowed)
        if left.size:
            result.put(left, self._search_all(queries.take(left), allowed, unfiltered)[0])
        return result

    def wait(self) -> None:
        """Wait until no rows are being gathered."""
        self._gathered.wait()

    def _search_all(self, queries: TopKQueries, allowed: AllowedRows, unfiltered: Search) -> tuple[TopKResult, float]:
        """Search without gathered rows; return the seconds too."""
        if allowed.count < COMMON_SHARE * (len(self._table) - 1):
            return self._search_rare(queries, allowed)
        (result, left), seconds = self._search_common(queries, allowed, unfiltered), _COMMON_SECONDS * len(queries.k)
        if left.size:
            part, more = self._search_rare(queries.take(left), allowed)
            result.put(left, part)
            seconds += more
        return result, seconds

    def _search_common(
        self, queries: TopKQueries, allowed: AllowedRows, unfiltered: Search
    ) -> tuple[TopKResult, I64]:
        """Return allowed rows of the best of all, and unanswered queries.

        If k of the best rows are allowed, they are the best allowed rows.
        """
        items, result = len(self._table) - 1, TopKResult.allocate(queries, len(self._table) - 1)
        wanted = _COMMON_FACTOR * queries.k * items // max(1, allowed.count) + _EXTRA_COMMON
        best = unfiltered(queries._replace(k=wanted))
        is_found = np.arange(best.rows.shape[1]) < best.lengths[:, None]
        is_found[is_found] = allowed.contains(best.rows[is_found])
        enough = np.count_nonzero(is_found, axis=1) >= queries.k
        for q in np.flatnonzero(enough).tolist():
            found = np.flatnonzero(is_found[q])[: queries.k[q]]
            result.rows[q, : len(found)], result.scores[q, : len(found)] = best.rows[q, found], best.scores[q, found]
            result.lengths[q] = len(found)
        return result, np.flatnonzero(~enough)

    def _search_rare(self, queries: TopKQueries, allowed: AllowedRows) -> tuple[TopKResult, float]:
        """Search the allowed rows only; return the seconds too."""
        if allowed.count <= EXACT_ROWS:
            read = _READ_ROW_SECONDS * allowed.count * len(queries.k)
            return allowed_top_k(self._table, queries, allowed), read + _BITMAP_ROW_SECONDS * len(self._table)
        return self._bounded.top_k(queries, allowed)
