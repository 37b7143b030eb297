"""Items of the store, applied to the columns."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.filter_bitmaps.changed_rows import ChangedRows
from service.core.catalogue.items import Item, from_record
from service.core.catalogue_store import StoredItem

_MAX_CACHED = 4096


class AppliedItems:
    """Writes stored items into the columns, and logs the rows that change.

    Attributes:
        columns: The items.
        changes: Rows that changed.
    """

    def __init__(self, columns: ItemColumns) -> None:
        self.columns = columns
        self.changes = ChangedRows()
        self._cached: dict[str, Item | None] = {}

    def get(self, item_id: str) -> Item | None:
        """Return an item's entry without its vector, or None."""
        if item_id not in self._cached:
            if len(self._cached) >= _MAX_CACHED:
                self._cached.clear()
            row = self.columns.row_of(item_id)
            self._cached[item_id] = self.columns.get(row) if row else None
        return self._cached[item_id]

    def apply(self, shard: int, items: Sequence[StoredItem]) -> None:
        """Apply items of a shard.

        An older revision never replaces a newer one.
        """
        columns, changed = self.columns, []
        try:
            for stored in items:
                if row := self._put(shard, stored):
                    changed.append(row)
        finally:
            self.changes.append(changed)
        columns.compact()

    def _put(self, shard: int, stored: StoredItem) -> int:
        """Write one item; return its row if it changed, else 0."""
        columns = self.columns
        row, digest = columns.add_row(stored.item_id), hash(stored.record)
        is_known = columns.shards.data[row] == shard
        if is_known and columns.revisions.data[row] >= stored.revision:
            return 0
        is_other = not is_known or columns.digests.data[row] != digest
        if is_other:
            columns.put(row, from_record(stored.item_id, stored.record))
            self._cached.pop(stored.item_id, None)
        columns.revisions.data[row], columns.shards.data[row] = stored.revision, shard
        columns.digests.data[row] = digest
        return row if is_other else 0

    def replace(self, shard: int, items: Sequence[StoredItem]) -> None:
        """Replace the items of a shard.

        Their revisions may be of another history, so only records are compared. An item may be among them twice.
        """
        columns = self.columns
        newest = {stored.item_id: stored for stored in sorted(items, key=attrgetter("revision"))}
        gone = columns.rows_of_shard(shard)
        columns.revisions.data[list(gone)] = 0
        self.apply(shard, list(newest.values()))
        gone.difference_update(map(columns.row_of, newest))
        for row in gone:
            columns.forget(row)
            self._cached.pop(columns.id_of(row), None)
        self.changes.append(list(gone))
