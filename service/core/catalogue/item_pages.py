"""Pages of the catalogue's entries, by item id."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from functools import partial

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
_MIN_UNSORTED = 4096
_ROWS_AT_ONCE, _SLICED_ATTEMPTS = 50, 5  # of a page

Found = tuple[list[int], bool]
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
    ) -> tuple[list[Item], str]:
        """Return up to `limit` items after an id, and the next cursor.

        They are those of one revision.
        """
        get = self._items.columns.get
        for _ in range(_SLICED_ATTEMPTS):
            rows, following = await self.page(predicate, cursor, limit)
            before, items = revision(), []
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                items += [item for row in rows[start : start + _ROWS_AT_ONCE] if (item := get(row))]
                await asyncio.sleep(0)  # other requests get the event loop
            if revision() == before:
                return items, following
        # The catalogue changes all the time: read the page at once, so that it is as of one revision.
        rows, following = await self.page(predicate, cursor, limit)
        return [item for row in rows if (item := get(row))], following

    async def page(self, predicate: Predicate | None, cursor: str, limit: int) -> tuple[list[int], str]:
        """Return up to `limit` rows after an id, and the next cursor.

        They are those of the moment of the return.
        """
        columns, changes = self._items.columns, self._items.changes
        for _ in range(_MAX_ATTEMPTS):
            position = changes.position
            search = partial(self._find, predicate, self._clock(), columns.row_count, cursor, limit)
            rows, is_end = await self._in_thread(search)
            changed = changes.since(position)
            if changed is not None and len(changed) <= _FEW:
                end = None if is_end else columns.ids.get(rows[-1])
                return self._corrected(predicate, rows, changed.tolist(), (encode_id(cursor), end), limit)
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
        return rows[:limit], len(rows) <= limit

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
        listed = (columns.has_entry.data[candidates] & ~columns.deleted.data[candidates]) > 0
        if predicate is not None and len(candidates):
            listed &= evaluate_rows(predicate, columns, self._clock(), candidates, one_by_one=True)
        correct: list[int] = candidates[listed].tolist()
        if len(correct) > limit:
            return correct[:limit], columns.id_of(correct[limit - 1])
        return correct, "" if end is None else decode_id(end)

    def _sorted(self, row_count: int) -> NDArray[np.int64]:
        """Return most rows in the order of their ids."""
        unsorted = row_count - 1 - len(self._order)
        if unsorted > max(_MIN_UNSORTED, row_count // 16):
            self._order = sorted_codes(self._items.columns.ids.view())
        return self._order
