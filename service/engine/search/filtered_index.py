"""Search under a filter, for catalogues with an index.

Chooses among three ways. Rows of filters that are used often are gathered (`gathered`). Until then few allowed rows
are all scored, and more are found by bounds (`filtered_ivf`). loadtests/micro/filtered_search measures the
switch-over points.
"""

from __future__ import annotations

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
# Estimated seconds on a core of 2024.
_READ_ROW_SECONDS, _BITMAP_ROW_SECONDS = 4e-8, 3e-11


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

    def top_k(self, queries: TopKQueries, allowed: AllowedRows) -> TopKResult:
        """Return the best allowed rows, except a few that no way proposes."""
        gathered = self._gathered.find(allowed) if allowed.count <= GATHERED_ROWS else None
        if gathered is None:
            result, seconds = self._search_all(queries, allowed)
            if allowed.count <= GATHERED_ROWS:
                self._gathered.spent(allowed, len(queries.k), seconds)
            return result
        result, left = gathered.top_k(queries, allowed)
        if left.size:
            result.put(left, self._search_all(queries.take(left), allowed)[0])
        return result

    def wait(self) -> None:
        """Wait until no rows are being gathered."""
        self._gathered.wait()

    def _search_all(self, queries: TopKQueries, allowed: AllowedRows) -> tuple[TopKResult, float]:
        """Search without gathered rows; return the seconds that a core needs too."""
        if allowed.count <= EXACT_ROWS:
            read = _READ_ROW_SECONDS * allowed.count * len(queries.k)
            return allowed_top_k(self._table, queries, allowed), read + _BITMAP_ROW_SECONDS * len(self._table)
        return self._bounded.top_k(queries, allowed)
