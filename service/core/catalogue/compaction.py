"""Compaction of columns beside the requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from service.core.catalogue.applied_items import AppliedItems
from service.core.catalogue.columns.coded_columns import SetColumn, TextColumn
from service.core.catalogue.columns.item_columns import ColumnKey

_SLICE = 256  # rows that are copied at once: half a millisecond


class InThread(Protocol):
    """Runs work in a thread."""

    async def __call__(self, work: Callable[[], Any], /) -> Any:  # noqa: ANN401 - the work's result
        """Return the result of the work."""
        ...


async def compact_column(items: AppliedItems, key: ColumnKey, in_thread: InThread) -> None:
    """Replace a column by a copy without the strings that were replaced.

    A thread makes the copy. Rows that change meanwhile are copied again.
    """
    columns, changes = items.columns, items.changes
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
