"""Order of items by popularity, for users without known items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.compiled.array_types import F32, I64, U32
from model.compiled.jit import kernel
from service.core.engine_requests import AllowedRows
from service.engine.search.filtered_exact import NO_ROWS, is_allowed, list_allowed
from service.engine.search.scoring import contains_row
from service.engine.search.top_k_queries import check_filter

# Allowed rows that are sorted for each row that is walked otherwise: sorting needs about as long.
_WALKED_PER_SORTED = 16


class PopularityOrder:
    """Rows of a catalogue by popularity, then in order of row.

    Appended rows have no popularity, and are last.
    """

    def __init__(self, popularity: F32) -> None:
        """Sort the items by popularity (V,)."""
        self._popularity = popularity
        self._rows = 1 + np.argsort(-popularity, kind="stable")
        self._ranks = np.zeros(len(popularity) + 1, np.int64)
        self._ranks[self._rows] = np.arange(1, len(popularity) + 1)
        self._filtered(1, AllowedRows.of(np.zeros(len(popularity) + 1, np.bool_)), np.empty(0, np.uint32))  # compile

    def rank(self, row: int) -> int:
        """Return the row's rank among all rows; 1 is the most popular."""
        return int(self._ranks[row]) if row < len(self._ranks) else row

    def top_k(
        self, k: int, allowed: AllowedRows | None = None, excluded: Sequence[int] = (), last_row: int = 0
    ) -> tuple[I64, F32]:
        """Return the most popular rows that are left, and their popularity.

        last_row is that of the last appended item, if there are any.
        """
        if allowed is None and not excluded:
            rows = self._rows[:k]
        else:
            rows = self._filtered(k, allowed, np.array(excluded, np.uint32))
        popularity = self._popularity[rows - 1]
        if len(rows) < k and allowed is not None and last_row > len(self._rows):
            appended = np.arange(len(self._rows) + 1, last_row + 1)
            more = appended[allowed.contains(appended) & ~np.isin(appended, excluded)][: k - len(rows)]
            rows, popularity = np.append(rows, more), np.append(popularity, np.zeros(len(more), np.float32))
        return rows, popularity

    def _filtered(self, k: int, allowed: AllowedRows | None, excluded: U32) -> I64:
        items = len(self._popularity)
        if allowed is None:
            return walk(self._rows, np.full(items // 32 + 1, 0xFFFFFFFF, np.uint32), excluded, k)
        check_filter(allowed, items)
        if allowed.count * _WALKED_PER_SORTED > items:
            return walk(self._rows, allowed.bitmap, excluded, k)
        rows = list_rows(allowed.bitmap, items + 1)
        return walk(rows[np.argsort(self._ranks[rows])], allowed.bitmap, excluded, k)


@kernel
def walk(order: I64, bitmap: U32, excluded: U32, k: int) -> I64:
    """Return the first `k` allowed, not excluded rows of an order."""
    found, n = np.empty(min(k, len(order)), np.int64), 0
    for row in order:
        if n == len(found):
            break
        if is_allowed(bitmap, row) and not contains_row(excluded, row):
            found[n] = row
            n += 1
    return found[:n]


@kernel
def list_rows(bitmap: U32, table_rows: int) -> I64:
    """Return all allowed rows, in order."""
    listed, count = np.empty(table_rows, np.int64), NO_ROWS
    for word in range(len(bitmap)):
        count = list_allowed(bitmap, word, table_rows, listed, count)
    return listed[:count].copy()
