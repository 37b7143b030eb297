"""In-memory vectors of new items that keep the contract of `ItemVectorStore`."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from service.core.errors import StoreUnavailable
from service.core.new_items.vector_store import VectorEntry, VectorPage, VectorPosition


class MemoryItemVectors:
    """Vectors by model version; `down` makes it fail."""

    def __init__(self) -> None:
        self.lists: dict[str, list[VectorEntry]] = {}
        self.down = False
        self.reads = 0
        self.appends: list[list[str]] = []
        """Item ids of each append."""

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("the event log does not answer")

    async def append(self, version: str, vectors: Sequence[tuple[str, bytes]]) -> list[VectorEntry]:
        self._check()
        self.appends.append([item_id for item_id, _ in vectors])
        entries = self.lists.setdefault(version, []) if vectors else []
        known, token = {entry.item_id: entry for entry in entries}, secrets.token_hex(8)
        for item_id, vector in vectors:
            if item_id not in known:
                known[item_id] = VectorEntry(len(entries) + 1, item_id, vector, token)
                entries.append(known[item_id])
        return [known[item_id] for item_id, _ in vectors]

    async def read(self, version: str, after: VectorPosition, limit: int) -> VectorPage | None:
        self._check()
        self.reads += 1
        entries = self.lists.get(version, [])
        number = after.revision
        if number and (number > len(entries) or entries[number - 1].token != after.token):
            return None
        return VectorPage(tuple(entries[number : number + limit]), len(entries) > number + limit)

    async def versions(self) -> list[str]:
        self._check()
        return sorted(self.lists)

    async def forget(self, version: str) -> None:
        self._check()
        self.lists.pop(version, None)
