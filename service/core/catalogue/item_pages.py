"""Pages of the catalogue's entries, by item id."""

from __future__ import annotations

import asyncio
from bisect import bisect_right, insort
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.applied_items import AppliedItems
from service.core.catalogue.columns.entry_order import sorted_codes
from service.core.catalogue.columns.item_columns import encode_id
from service.core.catalogue.expression.evaluation import evaluate_all, evaluate_rows
from service.core.catalogue.expression.predicates import Predicate
from service.core.catalogue.items import Item
from service.core.errors import Overloaded

_MAX_ATTEMPTS = 3
_FEW = 2048  # changes during a search that are corrected afterwards
_MIN_UNSORTED = 4096
_ROWS_AT_ONCE, _SLICED_ATTEMPTS = 10, 16

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

    async def read(self, predicate: Predicate | None, cursor: str, limit: int) -> tuple[list[Item], str]:
        """Return up to `limit` entries after an id, and the next cursor.

        They are as of the moment of the return. Raises `Overloaded` if the catalogue changes too fast.
        """
        changes, found = self._items.changes, dict[int, Item | None]()
        rows, following = await self.page(predicate, cursor, limit)
        for _ in range(_SLICED_ATTEMPTS):
            position = changes.position
            await self._read_rows([row for row in rows if row not in found], found)
            # Entries that changed meanwhile are read again. They are fewer each time, until nothing can change.
            changed = changes.since(position)
            if changed is None:
                break
            if not len(changed):
                return [item for row in rows if (item := found[row])], following
            rows, following = self.corrected(predicate, rows, changed.tolist(), (cursor, following), limit)
            for row in changed.tolist():
                found.pop(row, None)
        raise Overloaded("the catalogue changes too fast to be listed; try again")

    async def _read_rows(self, rows: Sequence[int], found: dict[int, Item | None]) -> None:
        """Read rows in slices, between which other requests run."""
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            found.update((row, self._items.columns.get(row)) for row in rows[start : start + _ROWS_AT_ONCE])

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
                span = cursor, "" if is_end else columns.id_of(rows[-1])
                return self.corrected(predicate, rows, changed.tolist(), span, limit)
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

    def corrected(
        self, predicate: Predicate | None, rows: list[int], changed: list[int], span: tuple[str, str], limit: int
    ) -> tuple[list[int], str]:
        """Correct a page by what changed since it was found.

        The page is of ids after span[0], up to span[1], or to the end if that is "". Returns it with its next cursor.
        """
        columns, get, begin = self._items.columns, self._items.columns.ids.get, encode_id(span[0])
        end = encode_id(span[1]) if span[1] else None
        inside = [row for row in changed if get(row) > begin and (end is None or get(row) <= end)]
        if not inside:
            return rows, span[1]
        found = np.array(inside, np.int64)
        listed = (columns.has_entry.data[found] & ~columns.deleted.data[found]) > 0
        if predicate is not None:
            listed &= evaluate_rows(predicate, columns, self._clock(), found, one_by_one=True)
        kept = set(found[listed].tolist())
        gone = set(inside) - kept
        correct = [row for row in rows if row not in gone]
        for row in kept.difference(rows):
            insort(correct, row, key=get)
        if len(correct) > limit:
            return correct[:limit], columns.id_of(correct[limit - 1])
        return correct, span[1]

    def _sorted(self, row_count: int) -> NDArray[np.int64]:
        """Return most rows in the order of their ids."""
        unsorted = row_count - 1 - len(self._order)
        if unsorted > max(_MIN_UNSORTED, row_count // 16):
            self._order = sorted_codes(self._items.columns.ids.view())
        return self._order
