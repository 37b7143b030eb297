"""Approximate top-k of large catalogues with an IVF-PQ index.

faiss keeps each item as four bits per dimension, in lists by direction, and looks into the `nprobe` lists nearest to
a query (IVF-PQ, fast scan: decision 0078). Lists miss items with long vectors, whose products are high from far away.
The longest vectors therefore form a flat index of their own, which every query searches. All candidates are scored in
float32, so scores and order are those of the exact search; only an item that was not proposed can be missing. The
recall is measured when the index is built.

Queries with a filter are answered by `filtered_index`.
"""

from __future__ import annotations

import logging
import time
from types import ModuleType
from typing import Any

import numpy as np

from model.compiled.array_types import F32, I64
from service.core.engine_requests import AllowedRows
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.faiss_library import import_faiss
from service.engine.search.filtered_exact import allowed_top_k
from service.engine.search.filtered_index import FilteredIndex
from service.engine.search.rescoring import rescore
from service.engine.search.top_k_queries import TopKQueries, TopKResult, top_k_by_filter

# Catalogues of at least this size get an index. There it is 5 to 11 times faster than the exact search for most
# users, and 1.3 times for batches of users that exclude 1,000 items each (loadtests/micro/engine_benchmark.py).
MIN_INDEXED_ITEMS = 100_000
# One item in this many is in the flat index. At a million items of clustered directions and log-normal lengths,
# recall is 0.97 at 16 probes without a flat index, and 1.00 with it.
_ITEMS_PER_FLAT_ITEM = 200
# Candidates: this many per wanted item plus a constant, because four bits order items roughly, plus one for each
# excluded item.
_CANDIDATES_PER_ITEM, _EXTRA_CANDIDATES = 4, 160
# Values of a four-bit code, and so the fewest items that the codes can be trained on.
_CODE_VALUES = 16
# With more candidates than this the exact search is as fast.
_MAX_CANDIDATES = 4096
_RECALL_K = 10
# Building compares every item with the centre of every list (decision 0061).
_MAX_LISTS = 4096
_PROBES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_ROWS_PER_ADD = 1 << 16

_log = logging.getLogger(__name__)


class IvfPqIndex:
    """Index over a table (V + 1, D).

    Immutable after `build`, and safe to share between threads.
    """

    def __init__(self, table: F32) -> None:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        faiss = import_faiss()
        # Worker processes share the cores. faiss brings a BLAS with threads of its own.
        threadpool_limits(limits=1, user_api="blas")
        self._faiss, self._set_threads = faiss, faiss.omp_set_num_threads
        self._set_threads(1)
        self._table, self.recall = table, 0.0
        by_length = 1 + np.argsort(-np.linalg.norm(table[1:], axis=1), kind="stable")
        flat_items = max(_CODE_VALUES, (len(table) - 1) // _ITEMS_PER_FLAT_ITEM)
        self._long_rows: I64 = np.sort(by_length[:flat_items])
        self._flat = _flat_index(faiss, table, self._long_rows)
        # faiss does not own the quantizer, so it has to live as long as the index.
        self._quantizer = faiss.IndexFlatIP(table.shape[1])
        self._lists = _list_index(faiss, self._quantizer, table, np.sort(by_length[flat_items:]))
        self._filtered: FilteredIndex | None = None

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
        index = cls(table)
        queries = TopKQueries.without_exclusions(samples, _RECALL_K)
        expected = exact_top_k(table, queries)
        for probes in _PROBES:
            index._lists.nprobe = probes
            index.recall = _recall(index._search_candidates(queries), expected)
            if index.recall >= min_recall:
                index._filtered = FilteredIndex.build(table, *index._lists_of_rows(), index._long_rows, samples)
                seconds = time.monotonic() - started
                _log.info(
                    "built the search index: items=%d seconds=%.1f recall@10=%.4f",
                    len(table) - 1,
                    seconds,
                    index.recall,
                )
                return index
        _log.warning(
            "search index refused, search stays exact: recall@10=%.4f is below RECBLR_MIN_RECALL=%g",
            index.recall,
            min_recall,
        )
        return None

    def top_k(self, queries: TopKQueries) -> TopKResult:
        """Return the best rows, except those that the index does not propose.

        Queries that exclusions leave with fewer rows than they ask for, or that ask for very many, are answered by
        the exact search.
        """
        items = len(self._table) - 1
        if queries.filters:
            return top_k_by_filter(queries, items, self.top_k, self._allowed_top_k)
        result = self._search_candidates(queries)
        short = np.flatnonzero(result.lengths < np.minimum(queries.k, items))
        if short.size:
            result.put(short, exact_top_k(self._table, queries.take(short)))
        return result

    def _allowed_top_k(self, queries: TopKQueries, allowed: AllowedRows) -> TopKResult:
        if self._filtered is None:
            return allowed_top_k(self._table, queries, allowed)
        return self._filtered.top_k(queries, allowed, self._search_candidates)

    def wait(self) -> None:
        """Wait until no rows are being gathered, for tests and benchmarks."""
        if self._filtered is not None:
            self._filtered.wait()

    def _lists_of_rows(self) -> tuple[I64, F32]:
        """Return the lists of the rows (V + 1,), and their directions.

        The rows of the flat index have a list too.
        """
        found = np.full(len(self._table), -1, np.int64)
        lists = self._lists.invlists
        for number in range(self._lists.nlist):
            ids = self._faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number))
            found[ids] = number
        rest = 1 + np.flatnonzero(found[1:] < 0)
        found[rest] = self._quantizer.search(self._table[rest], 1)[1][:, 0]
        directions: F32 = self._quantizer.reconstruct_n(0, self._lists.nlist)
        return found, directions

    def _search_candidates(self, queries: TopKQueries) -> TopKResult:
        """Return the best of the index's candidates, possibly too few.

        The result is empty if more than _MAX_CANDIDATES would be needed.
        """
        result = TopKResult.allocate(queries, len(self._table) - 1)
        excluded = int((queries.excluded_end - queries.excluded_start).max(initial=0))
        wanted = int(queries.k.max(initial=0))
        count = min(_CANDIDATES_PER_ITEM * wanted + _EXTRA_CANDIDATES + excluded, len(self._table) - 1)
        if wanted and count <= _MAX_CANDIDATES:
            self._set_threads(1)  # OpenMP keeps this setting per calling thread
            parts = [index.search(queries.vectors, count)[1] for index in (self._lists, self._flat)]
            rescore(
                self._table,
                queries.vectors,
                queries.k,
                queries.excluded,
                queries.excluded_start,
                queries.excluded_end,
                np.concatenate(parts, axis=1),
                *result,
            )
        return result


def _flat_index(faiss: ModuleType, table: F32, rows: I64) -> Any:  # noqa: ANN401 - faiss has no types
    """Index of `rows` that compares a query with every one of them."""
    width = table.shape[1]
    codes: Any = faiss.IndexPQFastScan(width, width, 4, faiss.METRIC_INNER_PRODUCT)
    codes.pq.cp.min_points_per_centroid = 1
    index: Any = faiss.IndexIDMap(codes)
    index.train(table[rows])
    index.add_with_ids(table[rows], rows)
    return index


def _list_index(faiss: ModuleType, quantizer: Any, table: F32, rows: I64) -> Any:  # noqa: ANN401
    """Index of `rows` in lists by direction; `quantizer` assigns the lists."""
    width = table.shape[1]
    lists = max(1, min(2 * int(np.sqrt(len(table))), _MAX_LISTS, len(rows) // 8))
    index: Any = faiss.IndexIVFPQFastScan(quantizer, width, lists, width, 4, faiss.METRIC_INNER_PRODUCT)
    index.by_residual = False  # one set of look-up tables per query serves all lists
    index.cp.spherical = True
    index.cp.niter, index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = 6, 64, 1
    index.pq.cp.min_points_per_centroid = 1
    index.train(table[rows[:: max(1, len(rows) // (lists * 64))]])
    for start in range(0, len(rows), _ROWS_PER_ADD):  # in parts, because a copy of the whole table would be large
        part = rows[start : start + _ROWS_PER_ADD]
        index.add_with_ids(table[part], part)
    return index


def _recall(found: TopKResult, expected: TopKResult) -> float:
    """Return the fraction of results that score as high as exact ones.

    Items with equal scores are interchangeable.
    """
    last = expected.scores[:, -1:]
    return float(np.mean(found.scores >= last - 1e-5 * np.abs(last)))
