"""Search on a CPU, exact or through an index.

The rows of appended items are searched after the trained ones, and inserted into their results.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.compiled.array_types import F32, I64
from service.core.engine_requests import AllowedRows
from service.engine.appended_items import AppendedItems
from service.engine.search.exact_top_k import exact_target_ranks, exact_top_k
from service.engine.search.filtered_exact import NO_SCALE, insert_appended
from service.engine.search.ivf_pq import IvfPqIndex
from service.engine.search.rescoring import MAX_RANK, rank_among
from service.engine.search.scoring import scores_of_rows
from service.engine.search.top_k_queries import TargetRanks, TopKQueries, TopKResult


class CpuSearch:
    """Search of a table (V + 1, D); see `interfaces.Search`."""

    def __init__(self, table: F32, index: IvfPqIndex | None) -> None:
        self._table, self._index = table, index
        norms = np.linalg.norm(table, axis=1)
        self._inverse_norms = (1 / np.maximum(norms, np.finfo(np.float32).tiny)).astype(np.float32)

    def top_k(self, queries: TopKQueries, appended: AppendedItems) -> TopKResult:
        """Return the rows with the highest products."""
        if self._index is None:
            return exact_top_k(self._table, queries, NO_SCALE, appended.vectors)
        trained = queries.for_trained(len(self._table) - 1) if queries.filters else queries
        found = self._index.top_k(trained)
        return with_appended(found, queries, appended) if appended.count else found

    def target_ranks(self, queries: TopKQueries, targets: I64, appended: AppendedItems) -> TargetRanks:
        """Return the targets' ranks.

        With an index those beyond MAX_RANK are 0 (decision 0056), and a target that it does not propose gets the rank
        of its score.
        """
        if self._index is None:
            return exact_target_ranks(self._table, appended.vectors, queries, targets)
        queries = queries._replace(k=np.full(len(targets), min(MAX_RANK, appended.last_row)))
        if appended.count:
            queries = queries.unfiltered().restricted([appended.everything] * len(targets), [()] * len(targets))
        best, ranks = self.top_k(queries, appended), TargetRanks.allocate(len(targets))
        rank_among(
            self._table,
            appended.vectors,
            queries.vectors,
            targets,
            queries.excluded,
            queries.excluded_start,
            queries.excluded_end,
            *best,
            *ranks,
        )
        return ranks

    def nearest(
        self, row: int, k: int, allowed: AllowedRows | None, excluded: Sequence[int], appended: AppendedItems
    ) -> TopKResult:
        """Return the `k` allowed rows nearest to `row` by cosine; see `interfaces.Search`."""
        own = row - appended.first
        if own < 0:
            direction = self._table[row] * self._inverse_norms[row]
        else:
            direction = appended.vectors[own] * appended.inverse_norms[own]
        query = TopKQueries.without_exclusions(direction[None], k).restricted([allowed], [[row, *excluded]])
        return exact_top_k(self._table, query, self._inverse_norms, appended.vectors, appended.inverse_norms)

    def scores(self, rows: I64, output: F32, appended: AppendedItems) -> F32:
        """Return the products of `output` (D,) and these rows (N,)."""
        # A state is read-only, which is another type.
        return scores_of_rows(self._table, appended.vectors, rows, output.copy())

    def metrics(self) -> dict[str, float]:
        """Return the index's recall."""
        return {"retrieval_recall@10": self._index.recall} if self._index else {}


def with_appended(found: TopKResult, queries: TopKQueries, appended: AppendedItems) -> TopKResult:
    """Return results that have the appended rows too.

    Args:
        found: results without them.
        queries: the queries; only those with a filter allow appended rows.
        appended: the appended items.
    """
    if not queries.filters:
        return found
    result = found
    if found.rows.shape[1] < min(int(queries.k.max()), appended.last_row):
        result = TopKResult.allocate(queries, appended.last_row)
        result.put(np.arange(len(queries.k)), found)
    for number, allowed in enumerate(queries.filters):
        selected = np.flatnonzero(queries.chosen == number)
        insert_appended(
            appended.vectors, appended.first, allowed.bitmap, allowed.full, selected, queries[:5], result[:]
        )
    return result
