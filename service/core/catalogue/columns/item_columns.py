"""All columns of the catalogue in one worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.attributes import AttributeType, normalize, type_of
from service.core.catalogue.columns.byte_table import ByteTable
from service.core.catalogue.columns.coded_columns import SEPARATOR, SetColumn, TextColumn
from service.core.catalogue.columns.growing_array import GrowingArray, GrownTogether
from service.core.catalogue.columns.item_batch import ItemBatch
from service.core.catalogue.columns.typed_columns import COLUMN_TYPES, BoolColumn, Column
from service.core.catalogue.items import Item

NO_SHARD = 255
TITLE = "title", AttributeType.STRING
CATEGORIES = "categories", AttributeType.STRINGS
AVAILABLE = "available", AttributeType.BOOL

ColumnKey = tuple[str, AttributeType]
Rows = NDArray[np.int64]


class EncodedItems(NamedTuple):
    """Items as they are stored in the columns.

    Attributes:
        rows: Their rows, distinct.
        deleted: 1 for a tombstone.
        shown: 1 if the item may be shown.
        values: By column; a missing one is NULL.
    """

    rows: Rows
    deleted: NDArray[np.int8]
    shown: NDArray[np.int8]
    values: Mapping[ColumnKey, NDArray[Any]]


class ItemColumns:
    """All items, one row each.

    Row 0 is not an item. A row is never given to another item.

    Attributes:
        listed_only: Whether an item without an entry is not shown.
        ids: The ids; the code of an id is its row.
        normal_ids: Ids that are not in NFC, in NFC, by row.
        columns: The columns by name and type: title, categories, available and the attributes.
        shown: (rows,) 1 if the item may be shown.
        has_entry: (rows,) 1 if the catalogue has an entry, deleted or not.
        deleted: (rows,) 1 if the entry is a tombstone.
        revisions: (rows,) revision of the entry in its shard.
        shards: (rows,) the shard of the entry.
        digests: (rows,) hash of the entry's record.
        item_count: Number of entries that are not deleted.
    """

    def __init__(self, listed_only: bool) -> None:
        """Create empty columns."""
        self.listed_only = listed_only
        self.ids = ByteTable(SEPARATOR)
        self.normal_ids: dict[int, bytes] = {}
        self.shown = GrowingArray(np.int8, 0 if listed_only else 1)
        self.has_entry = GrowingArray(np.int8)
        self.deleted = GrowingArray(np.int8)
        self.revisions = GrowingArray(np.int64)
        self.shards = GrowingArray(np.uint8, NO_SHARD)
        self.digests = GrowingArray(np.int64)
        self.columns: dict[ColumnKey, Column] = {
            TITLE: TextColumn(),
            CATEGORIES: SetColumn(),
            AVAILABLE: BoolColumn(),
        }
        self.item_count = 0
        self._room = GrownTogether(self.arrays)
        self._room.reserve(1)
        self.shown.set(0, 0)

    @property
    def row_count(self) -> int:
        """Number of rows, with row 0."""
        return len(self.ids) + 1

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        arrays = sum(array.nbytes for array in self.row_arrays())
        return self.ids.nbytes + arrays + sum(column.nbytes for column in self.columns.values())

    def row_of(self, item_id: str) -> int:
        """Return the item's row, 0 if there is none."""
        return self.ids.find(encode_id(item_id))

    def id_of(self, row: int) -> str:
        """Return the id of a row."""
        return decode_id(self.ids.get(row))

    def add_row(self, item_id: str) -> int:
        """Return the item's row, a new one if needed."""
        return int(self.add_rows([item_id])[0])

    def add_rows(self, item_ids: Sequence[str]) -> Rows:
        """Return the items' rows, new ones if needed."""
        known = len(self.ids)
        rows = self.ids.intern_many(list(map(encode_id, item_ids)))
        if added := len(self.ids) - known:
            self._room.reserve(self.row_count, added)
            if not all(map(str.isascii, item_ids)):
                self._keep_normal_ids(item_ids, rows)
        return rows

    def rows_of(self, item_ids: Sequence[str]) -> Rows:
        """Return rows, 0 for items that have none, in any thread."""
        entries = list(map(encode_id, item_ids))
        # A model's items often have consecutive rows.
        first = self.ids.find(entries[0]) if entries else 0
        if first and self.ids.has_at(first, entries):
            return np.arange(first, first + len(entries))
        return self.ids.find_many(entries)

    def column(self, name: str, kind: AttributeType) -> Column | None:
        """Return a column; None if no item has such a value."""
        return self.columns.get((name, kind))

    def put(self, row: int, item: Item) -> None:
        """Set all columns of a row."""
        entry = not item.deleted
        values: dict[ColumnKey, Any] = {}
        if entry:
            values = {(name, type_of(value)): value for name, value in item.attributes.items()}
            values |= {TITLE: item.title, CATEGORIES: item.categories, AVAILABLE: item.available}
        self.item_count += entry - int(self.has_entry.data[row] > self.deleted.data[row])
        self.has_entry.set(row, 1)
        self.deleted.set(row, item.deleted)
        self.shown.set(row, entry and item.available)
        for key in values.keys() - self.columns.keys():
            self._add_column(key)
        for key, column in self.columns.items():
            column.put(row, values.get(key))

    def encode(self, rows: Rows, batch: ItemBatch) -> EncodedItems:
        """Convert items to what `write` stores in these rows, which are distinct."""
        for key in batch.values.keys() - self.columns.keys():
            self._add_column(key)
        values = {key: self.columns[key].encode(each) for key, each in batch.values.items()}
        shown = np.array([available is True for available in batch.values[AVAILABLE]], np.int8)
        return EncodedItems(rows, np.array(batch.deleted, np.int8), shown, values)

    def write(self, items: EncodedItems) -> None:
        """Set all columns of some rows."""
        rows = items.rows
        self.item_count += int(np.count_nonzero(items.deleted == 0)) - self._count(rows)
        self.has_entry.update(rows, 1)
        self.deleted.update(rows, items.deleted)
        self.shown.update(rows, items.shown)
        for key, column in self.columns.items():
            column.array.update(rows, items.values.get(key, column.array.fill))

    def forget(self, rows: Rows) -> None:
        """Remove the entries of rows."""
        self.item_count -= self._count(rows)
        for array in self.arrays():
            array.update(rows, array.fill)

    def get(self, row: int) -> Item | None:
        """Return the entry without its vector, or None.

        A deleted item has none.
        """
        if not self.has_entry.data[row] or self.deleted.data[row]:
            return None
        values = {key: column.get(row) for key, column in self.columns.items()}
        title, categories, available = (values.pop(key) for key in (TITLE, CATEGORIES, AVAILABLE))
        attributes = {name: value for (name, _), value in values.items() if value is not None}
        return Item(self.id_of(row), title, categories or (), bool(available), attributes)  # type: ignore[arg-type]

    def rows_of_shard(self, shard: int) -> Rows:
        """Return the rows of a shard's entries."""
        return np.flatnonzero(self.shards.data[: self.row_count] == shard)

    def wasteful(self) -> Mapping[ColumnKey, TextColumn | SetColumn]:
        """Return the columns whose strings are mostly replaced ones."""
        coded = {key: column for key, column in self.columns.items() if isinstance(column, TextColumn | SetColumn)}
        return {key: column for key, column in coded.items() if column.is_wasteful}

    def replace_column(self, key: ColumnKey, column: Column) -> None:
        """Replace a column; a thread may go on with the old one."""
        self._room.adopt(column.array)
        self.columns[key] = column

    def take_over(self, ids: ByteTable, columns: Mapping[ColumnKey, Column]) -> None:
        """Take over ids and columns, after the row arrays are set."""
        self.ids, self.columns = ids, dict(columns)
        rows = slice(0, self.row_count)
        self.item_count = int(np.count_nonzero(self.has_entry.data[rows] > self.deleted.data[rows]))
        self._room = GrownTogether(self.arrays)

    def arrays(self) -> tuple[GrowingArray[Any], ...]:
        """Return all arrays that have a value for each row."""
        return (*self.row_arrays(), *(column.array for column in self.columns.values()))

    def row_arrays(self) -> tuple[GrowingArray[Any], ...]:
        """Return the arrays that are no columns."""
        return self.shown, self.has_entry, self.deleted, self.revisions, self.shards, self.digests

    def _count(self, rows: Rows) -> int:
        return int(np.count_nonzero(self.has_entry.data[rows] > self.deleted.data[rows]))

    def _add_column(self, key: ColumnKey) -> None:
        column = COLUMN_TYPES[key[1]]()
        self._room.adopt(column.array)
        self.columns = {**self.columns, key: column}  # a thread may go through the old one

    def _keep_normal_ids(self, item_ids: Sequence[str], rows: Rows) -> None:
        for row, item_id in zip(rows.tolist(), item_ids, strict=True):
            if not item_id.isascii() and (normal := normalize(item_id)) != item_id:
                self.normal_ids[row] = encode_id(normal)


def encode_id(item_id: str) -> bytes:
    """Return the bytes of an id, which is not normalised."""
    return item_id.encode("utf-8", "surrogatepass")


def decode_id(entry: bytes) -> str:
    """Return the id of `encode_id`."""
    return entry.decode("utf-8", "surrogatepass")
