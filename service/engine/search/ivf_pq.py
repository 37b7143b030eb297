"""Approximate top-k of large catalogues with an IVF-PQ index.

An index of faiss proposes candidates (`proposals`). All of them are scored in float32, so scores and order are those
of the exact search; only an item that was not proposed can be missing. The recall is measured when the index is
built.

Queries with a filter are answered by `filtered_index`.
"""

from __future__ import annotations

import logging
import time

from model.compiled.array_types import F32
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.filtered_index import FilteredIndex
from service.engine.search.proposals.list_index import ListIndex
from service.engine.search.proposals.proposed_rows import ProposedRows
from service.engine.search.top_k_queries import TopKQueries, TopKResult

# Catalogues of at least this size get an index. There it is 5 to 11 times faster than the exact search for most
# users, and 1.3 times for batches of users that exclude 1,000 items each (loadtests/micro/engine_benchmark.py).
MIN_INDEXED_ITEMS = 100_000

_log = logging.getLogger(__name__)


class IvfPqIndex:
    """Index over a table (V + 1, D).

    Immutable after `build`, and safe to share between threads.

    Attributes:
        recall: Recall@10 that was measured without filters.
    """

    def __init__(self, table: F32, proposed: ProposedRows, filtered: FilteredIndex) -> None:
        self._table, self._proposed, self._filtered, self.recall = table, proposed, filtered, proposed.recall

    @classmethod
    def build(cls, table: F32, samples: F32, min_recall: float) -> IvfPqIndex | None:
        """Build the index with the fewest probes that reach the recall.

        Args:
            table: item vectors (V + 1, D), row 0 unused.
            samples: queries (S, D) on which recall@10 is measured.
            min_recall: the lowest acceptable recall@10.

        Returns:
            The index, or None if no number of probes reaches `min_recall`.
        """
        started = time.monotonic()
        lists = ListIndex(table)
        proposed = ProposedRows.build(table, lists, samples, min_recall)
        if proposed.recall < min_recall:
            _log.warning(
                "search index refused, search stays exact: recall@10=%.4f is below RECBLR_MIN_RECALL=%g",
                proposed.recall,
                min_recall,
            )
            return None
        filtered = FilteredIndex.build(table, proposed, *lists.lists_of_rows(), lists.long_rows, samples)
        _log.info(
            "built the search index: items=%d seconds=%.1f recall@10=%.4f",
            len(table) - 1,
            time.monotonic() - started,
            proposed.recall,
        )
        return cls(table, proposed, filtered)

    def top_k(self, queries: TopKQueries) -> TopKResult:
        """Return the best rows, except those that the index does not propose.

        Queries that exclusions leave with fewer rows than they ask for, or that ask for very many, are answered by
        the exact search.
        """
        if queries.filters:
            return self._filtered.top_k(queries)
        result, short = self._proposed.top_k(queries)
        if short.size:
            result.put(short, exact_top_k(self._table, queries.take(short)))
        return result

    def wait(self) -> None:
        """Wait until no rows are being gathered, for tests and benchmarks."""
        self._filtered.wait()
