"""Items of the store, applied to the columns."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.filter_bitmaps.changed_rows import ChangedRows
from service.core.catalogue.items import Item, from_record
from service.core.catalogue_store import StoredItem

_MAX_CACHED = 4096


class _Write(NamedTuple):
    """Row to write.

    Attributes:
        item: The new entry; None if the row has it already.
    """

    row: int
    shard: int
    revision: int
    digest: int
    item: Item | None


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
        self._put([write for stored in items if (write := self._read(shard, stored))])

    def _read(self, shard: int, stored: StoredItem, *, any_revision: bool = False) -> _Write | None:
        """Decode an item; None if the columns have a newer one.

        Nothing is written before all items are decoded: a copy that had a part of them would be of no revision.
        """
        columns = self.columns
        row, digest = columns.add_row(stored.item_id), hash(stored.record)
        is_known = columns.shards.data[row] == shard
        if is_known and columns.revisions.data[row] >= stored.revision and not any_revision:
            return None
        is_same = is_known and columns.digests.data[row] == digest
        item = None if is_same else from_record(stored.item_id, stored.record)
        return _Write(row, shard, stored.revision, digest, item)

    def _put(self, writes: Sequence[_Write]) -> None:
        """Write rows; those without an item only get their new revision."""
        columns, changed = self.columns, []
        for row, shard, revision, digest, item in writes:
            if item is not None:
                columns.put(row, item)
                self._cached.pop(item.item_id, None)
                changed.append(row)
            columns.revisions.data[row], columns.shards.data[row] = revision, shard
            columns.digests.data[row] = digest
        self.changes.append(changed)
        columns.compact()

    def replace(self, shard: int, items: Sequence[StoredItem]) -> None:
        """Replace the items of a shard.

        Their revisions may be of another history, so only records are compared. An item may be among them twice.
        """
        columns = self.columns
        newest = {stored.item_id: stored for stored in sorted(items, key=attrgetter("revision"))}
        writes = [self._read(shard, stored, any_revision=True) for stored in newest.values()]
        gone = columns.rows_of_shard(shard).difference(map(columns.row_of, newest))
        self._put([write for write in writes if write])
        for row in gone:
            columns.forget(row)
            self._cached.pop(columns.id_of(row), None)
        self.changes.append(list(gone))
