"""Index of faiss that proposes rows.

Each row is kept as four bits per dimension (IVF-PQ, fast scan: decision 0078). A query looks into the lists nearest
to it. Lists miss rows with long vectors, whose products are high from far away. The longest rows therefore form a
flat index of their own, which every query searches.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from model.compiled.array_types import F32, I64
from service.engine.search.faiss_library import import_faiss

# One item in this many is in the flat index. At a million items of clustered directions and log-normal lengths,
# recall is 0.97 at 16 probes without a flat index, and 1.00 with it.
_ITEMS_PER_FLAT_ITEM = 200
# Values of a four-bit code, and so the fewest items that the codes can be trained on.
_CODE_VALUES = 16
# Building compares every item with the centre of every list (decision 0061).
_MAX_LISTS = 4096
_ROWS_PER_ADD = 1 << 16
# Search of faiss that goes query by query, and collects rows in a reservoir. It is faster while hardly any list is
# looked into by two queries of a batch.
_BY_QUERY = 11


class ListIndex:
    """Index over a table (V + 1, D).

    Immutable, and safe to share between threads.

    Attributes:
        long_rows: The rows of the flat part.
        list_count: Number of lists.
    """

    def __init__(self, table: F32) -> None:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        faiss = import_faiss()
        # Worker processes share the cores. faiss brings a BLAS with threads of its own.
        threadpool_limits(limits=1, user_api="blas")
        self._faiss, self._set_threads, self._table = faiss, faiss.omp_set_num_threads, table
        self._set_threads(1)
        self._parameters: dict[int, Any] = {}  # by number of probes
        by_length = 1 + np.argsort(-np.linalg.norm(table[1:], axis=1), kind="stable")
        flat_items = max(_CODE_VALUES, (len(table) - 1) // _ITEMS_PER_FLAT_ITEM)
        self.long_rows: I64 = np.sort(by_length[:flat_items])
        self._flat = _flat_index(faiss, table, self.long_rows)
        # faiss does not own the quantizer, so it has to live as long as the index.
        self._quantizer = faiss.IndexFlatIP(table.shape[1])
        self._lists = _list_index(faiss, self._quantizer, table, np.sort(by_length[flat_items:]))
        self._lists_by_query = _searched_by_query(faiss, self._lists)
        self.list_count: int = self._lists.nlist

    def propose(self, vectors: F32, count: int, probes: int) -> I64:
        """Return the rows (Q, 2 count) with the best estimates.

        The first half is of the lists, the other of the flat part. Each is in order of estimates; unused places at
        its end are -1.
        """
        self._set_threads(1)  # OpenMP keeps this setting per calling thread
        if probes not in self._parameters:
            self._parameters[probes] = self._faiss.SearchParametersIVF(nprobe=probes)
        lists = self._lists if len(vectors) * probes >= self.list_count else self._lists_by_query
        listed = lists.search(vectors, count, params=self._parameters[probes])[1]
        return np.concatenate([listed, self._flat.search(vectors, count)[1]], axis=1)

    def lists_of_rows(self) -> tuple[I64, F32]:
        """Return the lists of the rows (V + 1,), and their directions.

        The rows of the flat index have a list too.
        """
        found = np.full(len(self._table), -1, np.int64)
        lists = self._lists.invlists
        for number in range(self.list_count):
            ids = self._faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number))
            found[ids] = number
        rest = 1 + np.flatnonzero(found[1:] < 0)
        found[rest] = self._quantizer.search(self._table[rest], 1)[1][:, 0]
        directions: F32 = self._quantizer.reconstruct_n(0, self.list_count)
        return found, directions


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


def _searched_by_query(faiss: ModuleType, lists: Any) -> Any:  # noqa: ANN401
    """Return another index on the same lists, which searches query by query."""
    index: Any = faiss.IndexIVFPQFastScan(
        lists.quantizer, lists.d, lists.nlist, lists.d, 4, faiss.METRIC_INNER_PRODUCT, lists.bbs
    )
    index.by_residual, index.pq, index.M2 = lists.by_residual, lists.pq, lists.M2
    index.replace_invlists(lists.invlists, False)
    index.is_trained, index.ntotal, index.implem = True, lists.ntotal, _BY_QUERY
    return index
