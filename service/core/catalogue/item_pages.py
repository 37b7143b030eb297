"""Pages of the catalogue's entries, by item id."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.applied_items import AppliedItems
from service.core.catalogue.columns.entry_order import sorted_codes
from service.core.catalogue.columns.item_columns import decode_id, encode_id
from service.core.catalogue.expression.evaluation import evaluate_all, evaluate_rows
from service.core.catalogue.expression.predicates import Predicate
from service.core.catalogue.items import Item
from service.core.errors import Overloaded

_MAX_ATTEMPTS = 3
_FEW = 2048  # changes during a search that are corrected afterwards
_RECOUNTED = 100  # changes during a search that are corrected in the total, in a millisecond
_MIN_UNSORTED = 4096
_ROWS_AT_ONCE, _SLICED_ATTEMPTS = 50, 5  # of a page


class Found(NamedTuple):
    """Result of a search.

    Attributes:
        rows: rows of the page.
        is_end: whether no page follows.
        listed: (row count,) whether each row is on one of the pages.
    """

    rows: list[int]
    is_end: bool
    listed: NDArray[np.bool_]


class RowPage(NamedTuple):
    """One page of rows, the next cursor, and the total.

    If more than a few items change during the search, the total is as of its beginning.
    """

    rows: list[int]
    cursor: str
    total: int


class ItemPage(NamedTuple):
    """One page of items, the next cursor, and the total."""

    items: list[Item]
    cursor: str
    total: int


InThread = Callable[[Callable[[], Found]], Awaitable[Found]]


class ItemPages:
    """Finds pages in the order of the ids' code points.

    The order of all rows is computed for the first page. Rows that are added later are few, and sorted at each use.
    """

    def __init__(self, items: AppliedItems, in_thread: InThread, clock: Callable[[], int]) -> None:
        """Create it.

        Args:
            items: the items.
            in_thread: runs a search beside the event loop.
            clock: the time in microseconds.
        """
        self._items = items
        self._in_thread = in_thread
        self._clock = clock
        self._order = np.zeros(0, np.int64)

    async def items(
        self, predicate: Predicate | None, cursor: str, limit: int, revision: Callable[[], str]
    ) -> ItemPage:
        """Return up to `limit` items after an id.

        They are those of one revision.
        """
        get = self._items.columns.get
        for _ in range(_SLICED_ATTEMPTS):
            rows, following, total = await self.page(predicate, cursor, limit)
            before, items = revision(), []
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                items += [item for row in rows[start : start + _ROWS_AT_ONCE] if (item := get(row))]
                await asyncio.sleep(0)  # other requests get the event loop
            if revision() == before:
                return ItemPage(items, following, total)
        # The catalogue changes all the time: read the page at once, so that it is as of one revision.
        rows, following, total = await self.page(predicate, cursor, limit)
        return ItemPage([item for row in rows if (item := get(row))], following, total)

    async def page(self, predicate: Predicate | None, cursor: str, limit: int) -> RowPage:
        """Return up to `limit` rows after an id.

        They are those of the moment of the return.
        """
        columns, changes = self._items.columns, self._items.changes
        for _ in range(_MAX_ATTEMPTS):
            position = changes.position
            search = partial(self._find, predicate, self._clock(), columns.row_count, cursor, limit)
            found = await self._in_thread(search)
            changed = changes.since(position)
            if changed is not None and len(changed) <= _FEW:
                end = None if found.is_end else columns.ids.get(found.rows[-1])
                page = self._corrected(predicate, found.rows, changed.tolist(), (encode_id(cursor), end), limit)
                return RowPage(*page, self._total(predicate, found.listed, changed))
        raise Overloaded("the catalogue changes too fast to be listed; try again")

    def _find(self, predicate: Predicate | None, now: int, row_count: int, cursor: str, limit: int) -> Found:
        """Search while rows are written; see `typed_columns`."""
        columns = self._items.columns
        listed = (columns.has_entry.data[:row_count] & ~columns.deleted.data[:row_count]) > 0
        if predicate is not None:
            listed &= evaluate_all(predicate, columns, now, row_count)
        order, begin, get = self._sorted(row_count), encode_id(cursor), columns.ids.get
        sorted_part = order[bisect_right(order, begin, key=get) if cursor else 0 :]
        sorted_part = sorted_part[sorted_part < row_count]
        sorted_part = sorted_part[listed[sorted_part]][: limit + 1]
        added = np.arange(len(order) + 1, row_count)
        rows = [*sorted_part.tolist(), *(row for row in added[listed[added]].tolist() if get(row) > begin)]
        rows.sort(key=get)
        return Found(rows[:limit], len(rows) <= limit, listed)

    def _corrected(
        self,
        predicate: Predicate | None,
        rows: list[int],
        changed: list[int],
        span: tuple[bytes, bytes | None],
        limit: int,
    ) -> tuple[list[int], str]:
        """Correct a page by what changed during the search.

        The page is of ids after span[0], up to span[1] or to the end.
        """
        columns, get, (begin, end) = self._items.columns, self._items.columns.ids.get, span
        inside = [row for row in changed if get(row) > begin and (end is None or get(row) <= end)]
        candidates = np.array(sorted({*rows, *inside}, key=get), np.int64)
        correct: list[int] = candidates[self._listed(predicate, candidates)].tolist()
        if len(correct) > limit:
            return correct[:limit], columns.id_of(correct[limit - 1])
        return correct, "" if end is None else decode_id(end)

    def _total(self, predicate: Predicate | None, listed: NDArray[np.bool_], changed: NDArray[np.int64]) -> int:
        """Count the rows of all pages; the search found `listed`."""
        total = int(np.count_nonzero(listed))
        if not 0 < len(changed) <= _RECOUNTED:
            return total
        before = np.count_nonzero(listed[changed[changed < len(listed)]])
        return total - int(before) + int(np.count_nonzero(self._listed(predicate, changed)))

    def _listed(self, predicate: Predicate | None, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether each of these rows is listed now."""
        columns = self._items.columns
        listed: NDArray[np.bool_] = (columns.has_entry.data[rows] & ~columns.deleted.data[rows]) > 0
        if predicate is not None and len(rows):
            listed &= evaluate_rows(predicate, columns, self._clock(), rows, one_by_one=True)
        return listed

    def _sorted(self, row_count: int) -> NDArray[np.int64]:
        """Return most rows in the order of their ids."""
        unsorted = row_count - 1 - len(self._order)
        if unsorted > max(_MIN_UNSORTED, row_count // 16):
            self._order = sorted_codes(self._items.columns.ids.view())
        return self._order
