"""Wrapper of new items' storage that measures every round trip."""

from __future__ import annotations

from collections.abc import Sequence

from service.core.new_items.vector_store import ItemVectorStore, VectorEntry, VectorPage, VectorPosition
from service.observability.instrumented_store import StoreMetrics


class InstrumentedItemVectors:
    """Any `ItemVectorStore`, measured; operations are named `item_vectors_<method>`."""

    def __init__(self, store: ItemVectorStore, metrics: StoreMetrics) -> None:
        self._store = store
        self._metrics = metrics

    async def append(self, version: str, vectors: Sequence[tuple[str, bytes]]) -> list[VectorEntry]:
        """See `ItemVectorStore`."""
        with self._metrics.round_trip("item_vectors_append"):
            return await self._store.append(version, vectors)

    async def read(self, version: str, after: VectorPosition, limit: int) -> VectorPage | None:
        """See `ItemVectorStore`."""
        with self._metrics.round_trip("item_vectors_read"):
            return await self._store.read(version, after, limit)

    async def versions(self) -> list[str]:
        """See `ItemVectorStore`."""
        with self._metrics.round_trip("item_vectors_versions"):
            return await self._store.versions()

    async def forget(self, version: str) -> None:
        """See `ItemVectorStore`."""
        with self._metrics.round_trip("item_vectors_forget"):
            await self._store.forget(version)
