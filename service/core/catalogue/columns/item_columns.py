"""All columns of the catalogue in one worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.attributes import AttributeType, normalize, type_of
from service.core.catalogue.columns.byte_table import ByteTable
from service.core.catalogue.columns.coded_columns import SEPARATOR, SetColumn, TextColumn
from service.core.catalogue.columns.growing_array import GrowingArray, grown_capacity
from service.core.catalogue.columns.typed_columns import COLUMN_TYPES, BoolColumn, Column
from service.core.catalogue.items import Item

NO_SHARD = 255


class ItemColumns:
    """All items, one row each.

    Row 0 is not an item. A row is never given to another item.

    Attributes:
        ids: The ids; the code of an id is its row.
        normal_ids: Ids that are not in NFC, in NFC, by row.
        shown: (rows,) 1 if the item may be shown.
        has_entry: (rows,) 1 if the catalogue has an entry, deleted or not.
        deleted: (rows,) 1 if the entry is a tombstone.
        revisions: (rows,) revision of the entry in its shard.
        shards: (rows,) the shard of the entry.
        digests: (rows,) hash of the entry's record.
    """

    def __init__(self, listed_only: bool) -> None:
        """Create empty columns.

        With `listed_only` an item without an entry is not shown.
        """
        self._listed_only = listed_only
        self.ids = ByteTable(SEPARATOR)
        self.normal_ids: dict[int, bytes] = {}
        self.shown = GrowingArray(np.int8, 0 if listed_only else 1)
        self.has_entry = GrowingArray(np.int8)
        self.deleted = GrowingArray(np.int8)
        self.revisions = GrowingArray(np.int64)
        self.shards = GrowingArray(np.uint8, NO_SHARD)
        self.digests = GrowingArray(np.int64)
        self.title = TextColumn()
        self.categories = SetColumn()
        self.available = BoolColumn()
        self._attributes: dict[tuple[str, AttributeType], Column] = {}
        self._capacity = 0
        self._grow(1)
        self.shown.data[0] = 0

    @property
    def row_count(self) -> int:
        """Number of rows, with row 0."""
        return len(self.ids) + 1

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        arrays = sum(array.data.nbytes for array in self._arrays())
        return self.ids.nbytes + arrays + sum(column.nbytes for column in self._columns())

    @property
    def item_count(self) -> int:
        """Number of entries that are not deleted."""
        rows = self.row_count
        return int(np.count_nonzero(self.has_entry.data[:rows] > self.deleted.data[:rows]))

    def row_of(self, item_id: str) -> int:
        """Return the item's row, 0 if there is none."""
        return self.ids.find(encode_id(item_id))

    def id_of(self, row: int) -> str:
        """Return the id of a row."""
        return decode_id(self.ids.get(row))

    def add_row(self, item_id: str) -> int:
        """Return the item's row, a new one if needed."""
        row = self.ids.intern(encode_id(item_id))
        if row >= self._capacity:
            self._grow(row + 1)
        self._keep_normal_id(row, item_id)
        return row

    def add_rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """Add rows for distinct items that have none, and return them."""
        first = self.row_count
        self.ids.add_distinct(list(map(encode_id, item_ids)))
        self._grow(self.row_count)
        for row, item_id in enumerate(item_ids, first):
            self._keep_normal_id(row, item_id)
        return np.arange(first, self.row_count)

    def rows_of(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return rows, 0 for items that have none, in any thread."""
        return self.ids.find_many(list(map(encode_id, item_ids)))

    def column(self, name: str, kind: AttributeType) -> Column | None:
        """Return a column; None if no item has such a value."""
        match name:
            case "title":
                return self.title
            case "categories":
                return self.categories
            case "available":
                return self.available
        return self._attributes.get((name, kind))

    def put(self, row: int, item: Item) -> None:
        """Set all columns of a row."""
        entry = not item.deleted
        self.has_entry.data[row], self.deleted.data[row] = 1, item.deleted
        self.shown.data[row] = entry and item.available
        self._put_values(row, item if entry else None)

    def forget(self, row: int) -> None:
        """Remove the entry of a row."""
        self.has_entry.data[row] = self.deleted.data[row] = self.revisions.data[row] = 0
        self.shards.data[row] = NO_SHARD
        self.shown.data[row] = not self._listed_only
        self._put_values(row, None)

    def get(self, row: int) -> Item | None:
        """Return the entry without its vector, or None.

        A deleted item has none.
        """
        if not self.has_entry.data[row] or self.deleted.data[row]:
            return None
        values = {name: column.get(row) for (name, _), column in self._attributes.items()}
        return Item(
            self.id_of(row),
            self.title.get(row),
            self.categories.get(row) or (),
            bool(self.available.get(row)),
            {name: value for name, value in values.items() if value is not None},
        )

    def rows_of_shard(self, shard: int) -> set[int]:
        """Return the rows of a shard's entries."""
        return set(np.flatnonzero(self.shards.data[: self.row_count] == shard).tolist())

    def compact(self) -> None:
        """Drop strings that were replaced, if they are the most.

        The columns are replaced, so that a thread may go on with the old ones.
        """
        for key, column in self._attributes.items():
            if isinstance(column, TextColumn | SetColumn) and column.is_wasteful:
                self._attributes[key] = column.compacted()
        if self.title.is_wasteful:
            self.title = self.title.compacted()
        if self.categories.is_wasteful:
            self.categories = self.categories.compacted()

    def _put_values(self, row: int, item: Item | None) -> None:
        self.title.put(row, None if item is None else item.title)
        self.categories.put(row, None if item is None else item.categories)
        self.available.put(row, None if item is None else item.available)
        rest = {} if item is None else {(name, type_of(value)): value for name, value in item.attributes.items()}
        for key, column in self._attributes.items():
            column.put(row, rest.pop(key, None))
        for key, value in rest.items():
            column = self._attributes[key] = COLUMN_TYPES[key[1]]()
            column.resize(self._capacity)
            column.put(row, value)

    def _keep_normal_id(self, row: int, item_id: str) -> None:
        if not item_id.isascii() and (normal := normalize(item_id)) != item_id:
            self.normal_ids[row] = encode_id(normal)

    def _grow(self, rows: int) -> None:
        """Make room in all columns at once."""
        if rows > self._capacity:
            self._capacity = grown_capacity(rows)
            for array in self._arrays():
                array.resize(self._capacity)
            for column in self._columns():
                column.resize(self._capacity)

    def _arrays(self) -> tuple[GrowingArray[Any], ...]:
        return self.shown, self.has_entry, self.deleted, self.revisions, self.shards, self.digests

    def _columns(self) -> tuple[Column, ...]:
        return self.title, self.categories, self.available, *self._attributes.values()


def encode_id(item_id: str) -> bytes:
    """Return the bytes of an id, which is not normalised."""
    return item_id.encode("utf-8", "surrogatepass")


def decode_id(entry: bytes) -> str:
    """Return the id of `encode_id`."""
    return entry.decode("utf-8", "surrogatepass")
