"""Rows that one filter allows, gathered into an index of their own.

The index gives estimated scores of all gathered rows. The best are read and scored in order of their estimates, until
no estimate plus its margin is above the k-th best score. A filter whose rows have changed since is searched too: each
row is looked up in its bitmap before it is returned, and rows that were added are scored one by one. So are the few
rows that have no codes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.compiled.array_types import F32, I64, U32
from service.core.engine_requests import AllowedRows
from service.engine.search.gathered.row_codes import RowCodes
from service.engine.search.gathered_kernels import changed_rows, count_allowed, rescore_gathered
from service.engine.search.popularity import list_rows
from service.engine.search.top_k_queries import TopKQueries, TopKResult

# Candidates: this many per wanted row plus a constant, plus one for each that may not be in the result.
_CANDIDATES_PER_ROW, _EXTRA_CANDIDATES = 4, 80
_MORE_CANDIDATES = 8  # times as many, if they were not enough
# With more candidates the other ways are as fast.
_MAX_CANDIDATES = 4096
# Rows that may have changed before they are gathered again: a share of them, and a number.
_CHANGED_SHARE, _CHANGED_ROWS = 1 / 32, 16
# So few rows are all scored, which is faster than their index.
_CODED_ROWS = 1024
_OVERHEAD_BYTES = 4096


class _Changes(NamedTuple):
    """Changes since the rows were gathered.

    Attributes:
        bitmap: The rows that are allowed now.
        uncoded: Rows that are not in the index: those without codes, and those that were added.
        added: Number of added rows.
        removed: Number of rows that are no longer allowed.
    """

    bitmap: U32
    uncoded: I64
    added: int
    removed: int


class GatheredRows:
    """Index of the rows that one filter allowed.

    Safe to share between threads.
    """

    def __init__(self, table: F32, codes: RowCodes, allowed: AllowedRows) -> None:
        self._table, self._codes, self._bitmap = table, codes, allowed.bitmap
        rows = list_rows(allowed.bitmap, len(table))
        has_codes = codes.has_codes[rows] & (len(rows) > _CODED_ROWS)
        self._rows: NDArray[np.int32] = rows[has_codes].astype(np.int32)
        self._others = rows[~has_codes]
        self._index = codes.index(self._rows) if len(self._rows) else None
        self._changes = _Changes(allowed.bitmap, self._others, 0, 0)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return gathered_bytes(len(self._rows), self._table.shape[1]) + self._bitmap.nbytes

    def is_outdated(self, allowed: AllowedRows) -> bool:
        """Return whether so many rows changed that they need gathering."""
        changes = self._changes_to(allowed)
        return changes.added + changes.removed > _CHANGED_ROWS + _CHANGED_SHARE * len(self._rows)

    def top_k(self, queries: TopKQueries, allowed: AllowedRows) -> tuple[TopKResult, I64]:
        """Return the best allowed rows, and the queries that are not answered."""
        result = TopKResult.allocate(queries, len(self._table) - 1)
        changes, k = self._changes_to(allowed), queries.k
        count = _CANDIDATES_PER_ROW * int(k.max(initial=0)) + _EXTRA_CANDIDATES + changes.removed
        count += count_allowed(allowed.bitmap, queries.excluded, queries.excluded_start, queries.excluded_end)
        left, factor = np.arange(len(k)), 1
        while left.size and count * factor <= _MAX_CANDIDATES:
            part = queries if factor == 1 else queries.take(left)
            found, enough = self._search(part, allowed, changes.uncoded, count * factor)
            result.put(left, found)
            left, factor = left[~enough], factor * _MORE_CANDIDATES
        return result, left

    def _search(
        self, queries: TopKQueries, allowed: AllowedRows, uncoded: I64, count: int
    ) -> tuple[TopKResult, NDArray[np.bool_]]:
        result = TopKResult.allocate(queries, len(self._table) - 1)
        count = min(count, len(self._rows))
        estimates, positions = np.empty((len(queries.k), 0), np.float32), np.empty((len(queries.k), 0), np.int64)
        if self._index is not None and count:
            estimates, positions = self._codes.search(self._index, queries.vectors, count)
        enough = rescore_gathered(
            self._table,
            self._rows,
            uncoded,
            positions,
            estimates,
            self._codes.margins(queries.vectors),
            queries[:5],
            allowed.bitmap,
            result[:],
        )
        return result, enough

    def _changes_to(self, allowed: AllowedRows) -> _Changes:
        changes = self._changes
        if changes.bitmap is not allowed.bitmap:
            added, removed = changed_rows(self._bitmap, allowed.bitmap, len(self._table))
            uncoded = np.concatenate([self._others, added])
            changes = self._changes = _Changes(allowed.bitmap, uncoded, len(added), removed)
        return changes


def gathered_bytes(rows: int, width: int) -> int:
    """Return about how many bytes gathered rows take, without the bitmap."""
    return rows * (width // 2 + np.dtype(np.int32).itemsize) + _OVERHEAD_BYTES
