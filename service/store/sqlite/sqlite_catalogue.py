"""The catalogue in the SQLite file of the event log.

It has a connection and a thread of its own, so that reading a large catalogue does not hold up events.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from service.core.catalogue_store import (
    CATALOGUE_SHARDS,
    CHANGES_KEPT,
    Definitions,
    ItemWrite,
    ShardChanges,
    ShardPage,
    ShardPosition,
    StoredItem,
    Written,
)
from service.core.errors import StoreUnavailable
from service.store.sqlite import catalogue_sql
from service.store.sqlite.file_identity import FileIdentity
from service.store.sqlite.schema import open_catalogue
from service.store.sqlite.sqlite_item_vectors import SqliteItemVectors
from service.store.sqlite.transactions import TransactionThread

# Of one transaction: meanwhile no event can be appended.
MAX_WRITES = 256
MAX_BYTES = 1024 * 1024
# Between two transactions of one call. A waiting append tries each millisecond to get the lock (decision 0100).
PAUSE_SECONDS = 0.004


async def open_sqlite_catalogue(path: Path, changes_kept: int = CHANGES_KEPT) -> SqliteCatalogue:
    """Open the catalogue in an existing file; raises `StoreRefusedError`."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="sqlite-catalogue")
    try:
        db = await asyncio.get_running_loop().run_in_executor(executor, open_catalogue, path)
    except BaseException:
        executor.shutdown(wait=False)
        raise
    return SqliteCatalogue(TransactionThread(executor, FileIdentity(path)), db, changes_kept)


class SqliteCatalogue:
    """See `service.core.catalogue_store.CatalogueStore`.

    `item_vectors` uses the same connection.
    """

    def __init__(self, thread: TransactionThread, db: sqlite3.Connection, changes_kept: int) -> None:
        self._thread = thread
        self._db = db
        self._changes_kept = changes_kept
        self.item_vectors = SqliteItemVectors(thread, db)

    async def write_items(self, writes: Sequence[ItemWrite]) -> list[Written | StoreUnavailable]:
        """See `CatalogueStore.write_items`."""
        outcomes: list[Written | StoreUnavailable] = []
        for number, batch in enumerate(_batches(writes)):
            if number:
                await asyncio.sleep(PAUSE_SECONDS)
            try:
                outcomes += await self._thread.run(
                    self._db, "IMMEDIATE", catalogue_sql.write_items, batch, self._changes_kept
                )
            except StoreUnavailable as error:
                outcomes += [error] * len(batch)
        return outcomes

    async def read_items(self, item_ids: Sequence[str]) -> list[StoredItem | None]:
        """See `CatalogueStore.read_items`."""
        return await self._thread.run(self._db, "DEFERRED", catalogue_sql.read_items, item_ids)

    async def positions(self) -> list[ShardPosition | StoreUnavailable]:
        """See `CatalogueStore.positions`."""
        try:
            return [*await self._thread.run(self._db, "DEFERRED", catalogue_sql.positions)]
        except StoreUnavailable as error:
            return [error] * (CATALOGUE_SHARDS + 1)

    async def position_at(self, shard: int, revision: int) -> ShardPosition | None:
        """See `CatalogueStore.position_at`."""
        return await self._thread.run(self._db, "DEFERRED", catalogue_sql.position_at, shard, revision)

    async def changes(self, shard: int, after: ShardPosition, limit: int) -> ShardChanges | None:
        """See `CatalogueStore.changes`."""
        return await self._thread.run(self._db, "DEFERRED", catalogue_sql.changes, shard, after, limit)

    async def scan(self, shard: int, cursor: str, limit: int) -> ShardPage | None:
        """See `CatalogueStore.scan`."""
        return await self._thread.run(self._db, "DEFERRED", catalogue_sql.scan, shard, cursor, limit)

    async def definitions(self) -> Definitions:
        """See `CatalogueStore.definitions`."""
        return await self._thread.run(self._db, "DEFERRED", catalogue_sql.definitions)

    async def set_attribute(self, name: str, expected: str | None, text: str | None) -> bool:
        """See `CatalogueStore.set_attribute`."""
        return await self._set_definition(catalogue_sql.ATTRIBUTE, name, expected, text)

    async def set_filter(self, name: str, expected: str | None, text: str | None) -> bool:
        """See `CatalogueStore.set_filter`."""
        return await self._set_definition(catalogue_sql.FILTER, name, expected, text)

    async def close(self) -> None:
        """Close the connection."""
        await self._thread.close(self._db)

    async def _set_definition(self, kind: str, name: str, expected: str | None, text: str | None) -> bool:
        arguments = (kind, name, expected, text, self._changes_kept)
        return await self._thread.run(self._db, "IMMEDIATE", catalogue_sql.set_definition, *arguments)


def _batches(writes: Sequence[ItemWrite]) -> Iterator[Sequence[ItemWrite]]:
    """Yield the writes of each transaction."""
    start, size = 0, 0
    for end, write in enumerate(writes):
        if end > start and (end - start == MAX_WRITES or size + len(write.record) > MAX_BYTES):
            yield writes[start:end]
            start, size = end, 0
        size += len(write.record)
    if start < len(writes):
        yield writes[start:]
