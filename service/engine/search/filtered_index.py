"""Search under a filter, for catalogues with an index.

Chooses among four ways. Rows of filters that are used often are gathered (`gathered`). Until then, and for filters
with too many rows, there are three: few allowed rows are all scored. If many are allowed, enough of what the index
proposes is among them (`proposals`). Others are found by bounds (`filtered_ivf`).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from model.compiled.array_types import F32, I64
from service.core.engine_requests import AllowedRows
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.filtered_exact import allowed_top_k
from service.engine.search.filtered_ivf import BoundedLists
from service.engine.search.gathered.gathered_cache import MAX_ROWS as GATHERED_ROWS
from service.engine.search.gathered.gathered_cache import GatheredCache
from service.engine.search.gathered.gathered_rows import GatheredRows
from service.engine.search.gathered.row_codes import RowCodes
from service.engine.search.proposals.proposed_rows import COMMON_SHARE, ProposedRows
from service.engine.search.top_k_queries import TopKQueries, TopKResult, check_filter

# Up to so many allowed rows are all scored.
EXACT_ROWS = 2048
# Estimated seconds on a core of 2024.
_READ_ROW_SECONDS, _BITMAP_ROW_SECONDS = 4e-8, 3e-11


class FilteredIndex:
    """Search of the rows that a filter allows.

    Safe to share between threads.
    """

    def __init__(self, table: F32, proposed: ProposedRows, bounded: BoundedLists, gathered: GatheredCache) -> None:
        self._table, self._proposed, self._bounded, self._gathered = table, proposed, bounded, gathered

    @classmethod
    def build(
        cls, table: F32, proposed: ProposedRows, list_of_row: I64, directions: F32, long_rows: I64, samples: F32
    ) -> FilteredIndex:
        """Prepare the ways.

        Args:
            table: item vectors (V + 1, D), row 0 unused.
            proposed: what the index proposes.
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
        return cls(table, proposed, bounded, GatheredCache(partial(GatheredRows, table, codes)))

    def top_k(self, queries: TopKQueries) -> TopKResult:
        """Return the best allowed rows, except a few that no way proposes.

        Some queries may be without a filter.
        """
        result = TopKResult.allocate(queries, len(self._table) - 1)
        together = [np.flatnonzero(queries.chosen < 0)]
        for number, allowed in enumerate(queries.filters):
            own = np.flatnonzero(queries.chosen == number)
            if own.size:
                check_filter(allowed, len(self._table) - 1)
                own = self._search_gathered(queries, own, allowed, result)
            if allowed.count >= COMMON_SHARE * (len(self._table) - 1):
                together.append(own)
            elif own.size:
                self._search_rare(queries, own, allowed, result)
        selected = np.concatenate(together)
        if selected.size:
            found, left = self._proposed.top_k(queries.take(selected))
            result.put(selected, found)
            self._search_left(queries, selected[left], result)
        return result

    def wait(self) -> None:
        """Wait until no rows are being gathered."""
        self._gathered.wait()

    def _search_gathered(self, queries: TopKQueries, selected: I64, allowed: AllowedRows, result: TopKResult) -> I64:
        """Search gathered rows, if there are any; return the unanswered queries."""
        gathered = self._gathered.find(allowed) if allowed.count <= GATHERED_ROWS else None
        if gathered is None:
            if allowed.count >= COMMON_SHARE * (len(self._table) - 1):
                self._spent(allowed, len(selected), self._proposed.seconds(allowed) * len(selected))
            return selected
        found, left = gathered.top_k(queries.take(selected).unfiltered(), allowed)
        result.put(selected, found)
        return selected[left]

    def _search_left(self, queries: TopKQueries, selected: I64, result: TopKResult) -> None:
        """Search queries for which the proposals were not enough."""
        for number in np.unique(queries.chosen[selected]).tolist():
            own = selected[queries.chosen[selected] == number]
            if number < 0:
                result.put(own, exact_top_k(self._table, queries.take(own).unfiltered()))
            else:
                self._search_rare(queries, own, queries.filters[number], result)

    def _search_rare(self, queries: TopKQueries, selected: I64, allowed: AllowedRows, result: TopKResult) -> None:
        """Search the allowed rows only."""
        part = queries.take(selected).unfiltered()
        if allowed.count <= EXACT_ROWS:
            seconds = _READ_ROW_SECONDS * allowed.count * len(selected) + _BITMAP_ROW_SECONDS * len(self._table)
            found = allowed_top_k(self._table, part, allowed)
        else:
            found, seconds = self._bounded.top_k(part, allowed)
        result.put(selected, found)
        self._spent(allowed, len(selected), seconds)

    def _spent(self, allowed: AllowedRows, queries: int, seconds: float) -> None:
        if allowed.count <= GATHERED_ROWS:
            self._gathered.spent(allowed, queries, seconds)
