"""Entries of the catalogue in the order of their changes, for the vectors of new items."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np

from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.filter_bitmaps.changed_rows import ChangedRows

_SLICE = 1024  # a millisecond


class NewEntries:
    """Reads which items have an entry, and which have changed."""

    def __init__(self, columns: ItemColumns, changes: ChangedRows) -> None:
        self._columns = columns
        self._changes = changes

    @property
    def position(self) -> int:
        """Number of changes so far in this worker's copy."""
        return self._changes.position

    def since(self, position: int) -> list[str] | None:
        """Return the items that changed after a position.

        None: they are not known any more. Deleted items are left out.
        """
        rows = self._changes.since(position)
        if rows is None:
            return None
        columns = self._columns
        present = rows[columns.has_entry.data[rows] > columns.deleted.data[rows]]
        return list(map(columns.id_of, present.tolist()))

    async def all(self) -> AsyncIterator[list[str]]:
        """Yield all items that have an entry, in slices."""
        columns, start = self._columns, 1
        while start < columns.row_count:
            rows = np.arange(start, min(start + _SLICE, columns.row_count))
            present = rows[columns.has_entry.data[rows] > columns.deleted.data[rows]]
            yield list(map(columns.id_of, present.tolist()))
            start += _SLICE
            await asyncio.sleep(0)
