"""Compaction of columns beside the requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.coded_columns import SetColumn, TextColumn
from service.core.catalogue.columns.item_columns import ColumnKey, ItemColumns

_SLICE = 256  # rows that are copied at once: half a millisecond


class RowChanges(Protocol):
    """Log of changed rows: `filter_bitmaps.changed_rows.ChangedRows`."""

    @property
    def position(self) -> int:
        """Number of changes so far."""
        ...

    def since(self, position: int) -> NDArray[np.int64] | None:
        """Return the distinct rows that changed since, if known."""
        ...


class InThread(Protocol):
    """Runs work in a thread."""

    async def __call__(self, work: Callable[[], Any], /) -> Any:  # noqa: ANN401 - the work's result
        """Return the result of the work."""
        ...


async def compact_column(columns: ItemColumns, changes: RowChanges, key: ColumnKey, in_thread: InThread) -> None:
    """Replace a column by a copy without the strings that were replaced.

    A thread makes the copy. Rows that change meanwhile are copied again.
    """
    column = columns.columns[key]
    assert isinstance(column, TextColumn | SetColumn)  # noqa: S101 - only these are compacted
    position = changes.position
    compacted: TextColumn | SetColumn = await in_thread(column.compacted)
    while True:
        while len(compacted.array.data) < (room := len(column.array.data)):
            await in_thread(partial(compacted.array.resize, room))
        rows = changes.since(position)
        if rows is None:
            return  # too many to follow; a later attempt will
        position = changes.position
        for start in range(0, len(rows), _SLICE):
            part = rows[start : start + _SLICE]
            values: list[Any] = [column.get(row) for row in part.tolist()]
            compacted.array.write(part, compacted.encode(values))
            if start + _SLICE < len(rows):
                await asyncio.sleep(0)
        if position == changes.position and len(column.array.data) == len(compacted.array.data):
            columns.replace_column(key, compacted)
            return
