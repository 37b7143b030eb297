"""Wrapper of the catalogue's storage that measures every round trip."""

from __future__ import annotations

from collections.abc import Sequence

from service.core.catalogue_store import (
    CatalogueStore,
    Definitions,
    ItemWrite,
    ShardChanges,
    ShardPage,
    ShardPosition,
    StoredItem,
    Written,
)
from service.core.errors import StoreUnavailable
from service.observability.instrumented_store import StoreMetrics


class InstrumentedCatalogue:
    """Any `CatalogueStore`, measured; operations are named `catalogue_<method>`."""

    def __init__(self, store: CatalogueStore, metrics: StoreMetrics) -> None:
        self._store = store
        self._metrics = metrics

    async def write_items(self, writes: Sequence[ItemWrite]) -> list[Written | StoreUnavailable]:
        """See `CatalogueStore`."""
        with self._metrics.round_trip("catalogue_write_items"):
            outcomes = await self._store.write_items(writes)
        self._count_failure("catalogue_write_items", outcomes)
        return outcomes

    async def read_items(self, item_ids: Sequence[str]) -> list[StoredItem | None]:
        """See `CatalogueStore`."""
        with self._metrics.round_trip("catalogue_read_items"):
            return await self._store.read_items(item_ids)

    async def positions(self) -> list[ShardPosition | StoreUnavailable]:
        """See `CatalogueStore`."""
        with self._metrics.round_trip("catalogue_positions"):
            positions = await self._store.positions()
        self._count_failure("catalogue_positions", positions)
        return positions

    async def position_at(self, shard: int, revision: int) -> ShardPosition | None:
        """See `CatalogueStore`."""
        with self._metrics.round_trip("catalogue_position_at"):
            return await self._store.position_at(shard, revision)

    async def changes(self, shard: int, after: ShardPosition, limit: int) -> ShardChanges | None:
        """See `CatalogueStore`."""
        with self._metrics.round_trip("catalogue_changes"):
            return await self._store.changes(shard, after, limit)

    async def scan(self, shard: int, cursor: str, limit: int) -> ShardPage | None:
        """See `CatalogueStore`."""
        with self._metrics.round_trip("catalogue_scan"):
            return await self._store.scan(shard, cursor, limit)

    async def definitions(self) -> Definitions:
        """See `CatalogueStore`."""
        with self._metrics.round_trip("catalogue_definitions"):
            return await self._store.definitions()

    async def set_attribute(self, name: str, expected: str | None, text: str | None) -> bool:
        """See `CatalogueStore`."""
        with self._metrics.round_trip("catalogue_set_attribute"):
            return await self._store.set_attribute(name, expected, text)

    async def set_filter(self, name: str, expected: str | None, text: str | None) -> bool:
        """See `CatalogueStore`."""
        with self._metrics.round_trip("catalogue_set_filter"):
            return await self._store.set_filter(name, expected, text)

    def _count_failure(self, operation: str, entries: Sequence[object]) -> None:
        if any(isinstance(entry, StoreUnavailable) for entry in entries):
            self._metrics.failed(operation)
