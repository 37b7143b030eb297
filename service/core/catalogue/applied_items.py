"""Items of the store, applied to the columns."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.item_batch import decode_batch
from service.core.catalogue.columns.item_columns import EncodedItems, ItemColumns
from service.core.catalogue.filter_bitmaps.changed_rows import ChangedRows
from service.core.catalogue.items import Item, from_record
from service.core.catalogue_store import StoredItem

MAX_CACHED = 4096
_FEW = 6  # items that are applied one by one, because it is faster
_SLICE = 256  # items between which other requests get the event loop: two milliseconds


class StagedItems(NamedTuple):
    """Items of a shard that are ready to be written.

    Attributes:
        rows: Rows of all items.
        revisions: Their revisions.
        digests: Hashes of their records.
        changed: The items whose record is another one.
    """

    rows: NDArray[np.int64]
    revisions: NDArray[np.int64]
    digests: NDArray[np.int64]
    changed: EncodedItems | None


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
        self._cached: OrderedDict[str, Item | None] = OrderedDict()

    def get(self, item_id: str) -> Item | None:
        """Return an item's entry without its vector, or None."""
        cached = self._cached
        if item_id in cached:
            cached.move_to_end(item_id)
            return cached[item_id]
        row = self.columns.row_of(item_id)
        item = cached[item_id] = self.columns.get(row) if row else None
        if len(cached) > MAX_CACHED:
            cached.popitem(last=False)
        return item

    def items_since(self, position: int) -> list[str] | None:
        """Return the items that changed after a position of `changes`.

        None: they are not known any more. Deleted items are left out.
        """
        rows = self.changes.since(position)
        return None if rows is None else self._present(rows)

    async def all_items(self) -> AsyncIterator[list[str]]:
        """Yield all items that are not deleted, in slices."""
        start = 1
        while start < self.columns.row_count:
            yield self._present(np.arange(start, min(start + _SLICE, self.columns.row_count)))
            start += _SLICE
            await asyncio.sleep(0)

    def apply(self, shard: int, items: Sequence[StoredItem]) -> None:
        """Apply items of a shard.

        An older revision never replaces a newer one.
        """
        distinct = keep_newest({}, items)  # an item is compared with the columns once
        if len(items) > _FEW:
            self._write(shard, self._stage(shard, distinct, keep_newer=True))
            return
        self._put([write for stored in distinct if (write := self._read(shard, stored))])

    def _read(self, shard: int, stored: StoredItem) -> _Write | None:
        """Decode an item; None if the columns have a newer one.

        Nothing is written before all items are decoded: a copy that had a part of them would be of no revision.
        """
        columns = self.columns
        row, digest = columns.add_row(stored.item_id), int(digests_of([stored.record])[0])
        is_known = columns.shards.data[row] == shard
        if is_known and columns.revisions.data[row] >= stored.revision:
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
            columns.revisions.set(row, revision)
            columns.digests.set(row, digest)
            if columns.shards.data[row] != shard:
                columns.shards.set(row, shard)
        self.changes.append(changed)

    def _stage(self, shard: int, items: Sequence[StoredItem], *, keep_newer: bool) -> StagedItems:
        """Decode distinct items, and add their strings to the columns.

        With `keep_newer` items of which the columns have a newer revision are left out.
        """
        columns, records = self.columns, [stored.record for stored in items]
        rows = columns.add_rows([stored.item_id for stored in items])
        revisions = np.array([stored.revision for stored in items], np.int64)
        digests = digests_of(records)
        is_known = columns.shards.data[rows] == shard
        wanted = np.ones(len(rows), np.bool_)
        if keep_newer:
            wanted = ~is_known | (columns.revisions.data[rows] < revisions)
        changed = np.flatnonzero(wanted & (~is_known | (columns.digests.data[rows] != digests)))
        encoded = None
        if len(changed):
            encoded = columns.encode(rows[changed], decode_batch([records[index] for index in changed.tolist()]))
        return StagedItems(rows[wanted], revisions[wanted], digests[wanted], encoded)

    def _write(self, shard: int, staged: StagedItems) -> None:
        columns = self.columns
        columns.revisions.update(staged.rows, staged.revisions)
        columns.shards.update(staged.rows, shard)
        columns.digests.update(staged.rows, staged.digests)
        if staged.changed is not None:
            columns.write(staged.changed)
            self._log(staged.changed.rows)

    async def stage_all(self, shard: int, items: Sequence[StoredItem]) -> list[StagedItems]:
        """Prepare to replace a shard, a slice at a time.

        Their revisions may be of another history, so only records are compared. An item may be among them twice.
        """
        newest: dict[str, StoredItem] = {}
        for start in range(0, len(items), _SLICE):
            keep_newest(newest, items[start : start + _SLICE])
            await asyncio.sleep(0)
        distinct, staged = keep_newest(newest, ()), []
        for start in range(0, len(distinct), _SLICE):
            staged.append(self._stage(shard, distinct[start : start + _SLICE], keep_newer=False))
            await asyncio.sleep(0)
        return staged

    def replace(self, shard: int, staged: Sequence[StagedItems]) -> None:
        """Write what `stage_all` prepared, and forget the shard's other items."""
        is_gone = np.zeros(self.columns.row_count, np.bool_)
        is_gone[self.columns.rows_of_shard(shard)] = True
        for each in staged:
            is_gone[each.rows] = False
            self._write(shard, each)
        gone = np.flatnonzero(is_gone)
        self.columns.forget(gone)
        self._log(gone)

    def _present(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the ids of the rows that have an entry."""
        columns = self.columns
        present = rows[columns.has_entry.data[rows] > columns.deleted.data[rows]]
        return list(map(columns.id_of, present.tolist()))

    def _log(self, rows: NDArray[np.int64]) -> None:
        """Log changed rows."""
        numbers = rows.tolist()
        self.changes.append(numbers)
        if len(numbers) > MAX_CACHED:
            self._cached.clear()
            return
        for row in numbers if self._cached else ():
            self._cached.pop(self.columns.id_of(row), None)


def digests_of(records: Sequence[bytes]) -> NDArray[np.int64]:
    """Return hashes of records, the same in every process."""
    digests = [hashlib.blake2b(record, digest_size=8).digest() for record in records]
    return np.frombuffer(b"".join(digests), np.int64)


def keep_newest(newest: dict[str, StoredItem], items: Sequence[StoredItem]) -> list[StoredItem]:
    """Keep the newest revision of each item; return them all."""
    for stored in items:
        known = newest.get(stored.item_id)
        if known is None or known.revision < stored.revision:
            newest[stored.item_id] = stored
    return list(newest.values())
