"""Pages of the catalogue's entries, by item id."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.entry_order import sorted_codes
from service.core.catalogue.columns.item_columns import ItemColumns, encode_id
from service.core.catalogue.expression.evaluation import evaluate_all, evaluate_rows
from service.core.catalogue.expression.predicates import Predicate

_MIN_UNSORTED = 4096


class ItemPages:
    """Finds pages in the order of the ids' code points.

    The order of all rows is computed for the first page. Rows that are added later are few, and sorted at each use.
    """

    def __init__(self, columns: ItemColumns) -> None:
        self._columns = columns
        self._order = np.zeros(0, np.int64)

    def find(self, predicate: Predicate | None, now: int, cursor: str, limit: int) -> tuple[list[int], bool]:
        """Return up to `limit` rows after an id.

        Also returns whether they are the last.

        May run in a thread while rows are written; see `typed_columns`.
        """
        columns = self._columns
        row_count = columns.row_count
        listed = (columns.has_entry.data[:row_count] & ~columns.deleted.data[:row_count]) > 0
        if predicate is not None:
            listed &= evaluate_all(predicate, columns, now, row_count)
        order = self._sorted(row_count)
        begin, get = encode_id(cursor), columns.ids.get
        sorted_part = order[bisect_right(order, begin, key=get) if cursor else 0 :]
        sorted_part = sorted_part[listed[sorted_part]][: limit + 1]
        added = np.arange(len(order) + 1, row_count)
        rows = [*sorted_part.tolist(), *(row for row in added[listed[added]].tolist() if get(row) > begin)]
        rows.sort(key=get)
        return rows[:limit], len(rows) <= limit

    def still_listed(self, predicate: Predicate | None, now: int, rows: Sequence[int]) -> list[int]:
        """Return those of the rows that are on the page now."""
        if predicate is None or not rows:
            return list(rows)
        array = np.array(rows, np.int64)
        found: list[int] = array[evaluate_rows(predicate, self._columns, now, array, one_by_one=True)].tolist()
        return found

    def _sorted(self, row_count: int) -> NDArray[np.int64]:
        """Return most rows in the order of their ids."""
        unsorted = row_count - 1 - len(self._order)
        if unsorted > max(_MIN_UNSORTED, row_count // 16):
            self._order = sorted_codes(self._columns.ids.view())
        return self._order
