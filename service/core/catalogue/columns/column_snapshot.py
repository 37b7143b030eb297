"""Snapshot of a worker's columns, and the positions that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.column_arrays import ArrayParts, ColumnExport, import_columns
from service.core.catalogue.columns.compaction import RowChanges
from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue_store import ShardPosition
from service.core.column_snapshots import StoredColumns

_TORN = "torn_rows"


class Span(NamedTuple):
    """Positions between which a shard was read.

    The columns have all changes up to `first`, and perhaps some up to `last`: as a scan of the store, they are right
    after all changes since `first`, if the store still knows both positions.
    """

    first: ShardPosition
    last: ShardPosition


class SnapshotCapture:
    """Columns that are being written while changes are applied."""

    def __init__(
        self, columns: ItemColumns, changes: RowChanges, positions: Callable[[], Sequence[ShardPosition]]
    ) -> None:
        """Begin on the event loop."""
        self._changes = changes
        self._positions = positions
        self._first = list(positions())
        self._changed_at = changes.position
        self._export = ColumnExport(columns)

    def arrays(self) -> Iterator[ArrayParts]:
        """Yield the arrays, in any thread."""
        return self._export.arrays()

    def finish(self) -> tuple[ArrayParts, dict[str, Any]] | None:
        """Return the last array, and the description, on the event loop.

        None: too many rows have changed meanwhile.
        """
        torn = self._changes.since(self._changed_at)
        if torn is None:
            return None
        spans = [[*first, *last] for first, last in zip(self._first, self._positions(), strict=True)]
        description = {**self._export.description, "spans": spans}
        return ArrayParts(_TORN, torn.dtype, iter([torn])), description


def spans_of(description: Mapping[str, Any]) -> list[Span]:
    """Return the positions of each shard; raises like `import_columns`."""
    found = []
    for first, first_token, last, last_token in description["spans"]:
        found.append(Span(ShardPosition(int(first), str(first_token)), ShardPosition(int(last), str(last_token))))
    return found


def restore_columns(columns: ItemColumns, stored: StoredColumns) -> list[Span]:
    """Fill empty columns from a snapshot; see `import_columns`.

    The rows that changed while it was written are forgotten: their changes follow.
    """
    if columns.row_count > 1:
        raise ValueError("the catalogue is in use")
    spans = spans_of(stored.description)
    torn: NDArray[np.int64] = stored.arrays[_TORN]
    import_columns(columns, stored.description, stored.arrays)
    columns.forget(torn[torn < columns.row_count])
    return spans
