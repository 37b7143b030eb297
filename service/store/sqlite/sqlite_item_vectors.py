"""Vectors of new items in the SQLite file of the event log.

They share the catalogue's connection and thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence

from service.core.new_items.vector_store import VectorEntry, VectorPage, VectorPosition
from service.store.sqlite import item_vectors_sql as sql
from service.store.sqlite.transactions import TransactionThread

MAX_ITEMS = 256  # of one transaction: meanwhile no event can be appended
MAX_READ = 1024
PAUSE_SECONDS = 0.004  # between two transactions of one call; see sqlite_catalogue.py


class SqliteItemVectors:
    """See `service.core.new_items.vector_store.ItemVectorStore`."""

    def __init__(self, thread: TransactionThread, db: sqlite3.Connection) -> None:
        self._thread = thread
        self._db = db

    async def append(self, version: str, vectors: Sequence[tuple[str, bytes]]) -> list[VectorEntry]:
        """See `ItemVectorStore.append`."""
        entries: list[VectorEntry] = []
        for start in range(0, len(vectors), MAX_ITEMS):
            if start:
                await asyncio.sleep(PAUSE_SECONDS)
            piece = vectors[start : start + MAX_ITEMS]
            entries += await self._thread.run(self._db, "IMMEDIATE", sql.append, version, piece)
        return entries

    async def read(self, version: str, after: VectorPosition, limit: int) -> VectorPage | None:
        """See `ItemVectorStore.read`."""
        return await self._thread.run(self._db, "DEFERRED", sql.read, version, after, min(limit, MAX_READ))

    async def versions(self) -> list[str]:
        """See `ItemVectorStore.versions`."""
        return await self._thread.run(self._db, "DEFERRED", sql.versions)

    async def forget(self, version: str) -> None:
        """See `ItemVectorStore.forget`."""
        await self._thread.run(self._db, "IMMEDIATE", sql.forget, version)
