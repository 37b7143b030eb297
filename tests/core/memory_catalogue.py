"""In-memory catalogue that keeps the contract of `CatalogueStore`."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.core.catalogue_store import (
    CATALOGUE_SHARDS,
    CHANGES_KEPT,
    MAX_ATTRIBUTES,
    MAX_FILTERS,
    OWN_NAME,
    Definitions,
    ItemWrite,
    ShardChanges,
    ShardPage,
    ShardPosition,
    StoredItem,
    Written,
    catalogue_shard,
)
from service.core.errors import StoreUnavailable


@dataclass
class _Shard:
    items: dict[str, StoredItem] = field(default_factory=dict)
    changes: list[tuple[int, str, str]] = field(default_factory=list)
    """Revision, token and name of each kept change."""

    @property
    def position(self) -> ShardPosition:
        return ShardPosition(*self.changes[-1][:2]) if self.changes else ShardPosition(0, "")

    def change(self, name: str, kept: int) -> int:
        revision = self.position.revision + 1
        self.changes.append((revision, secrets.token_hex(8), name))
        del self.changes[:-kept]
        return revision


class MemoryCatalogue:
    """`down` holds the shards that do not answer; `CATALOGUE_SHARDS` is the definitions'."""

    def __init__(self) -> None:
        self._changes_kept = CHANGES_KEPT
        self._shards = [_Shard() for _ in range(CATALOGUE_SHARDS + 1)]
        self._attributes: dict[str, str] = {}
        self._filters: dict[str, str] = {}
        self.down: set[int] = set()
        self.scans = 0

    def _shard(self, shard: int) -> _Shard:
        if shard in self.down:
            raise StoreUnavailable("the event log does not answer")
        return self._shards[shard]

    async def write_items(self, writes: Sequence[ItemWrite]) -> list[Written | StoreUnavailable]:
        return [self._write(write) for write in writes]

    def _write(self, write: ItemWrite) -> Written | StoreUnavailable:
        try:
            shard = self._shard(catalogue_shard(write.item_id))
        except StoreUnavailable as error:
            return error
        stored = shard.items.get(write.item_id, StoredItem(write.item_id, 0, b""))
        if write.expected is not None and write.expected != stored.revision:
            return Written(stored.revision, False, True, shard.position)
        if stored.revision and stored.record == write.record:
            return Written(stored.revision, False, False, shard.position)
        revision = shard.change(write.item_id, self._changes_kept)
        shard.items[write.item_id] = StoredItem(write.item_id, revision, write.record)
        return Written(revision, True, False, shard.position)

    async def read_items(self, item_ids: Sequence[str]) -> list[StoredItem | None]:
        return [self._shard(catalogue_shard(item_id)).items.get(item_id) for item_id in item_ids]

    async def positions(self) -> list[ShardPosition | StoreUnavailable]:
        found: list[ShardPosition | StoreUnavailable] = []
        for shard in range(CATALOGUE_SHARDS + 1):
            try:
                found.append(self._shard(shard).position)
            except StoreUnavailable as error:
                found.append(error)
        return found

    async def position_at(self, shard: int, revision: int) -> ShardPosition | None:
        kept = {change[0]: ShardPosition(*change[:2]) for change in self._shard(shard).changes}
        return kept.get(revision)

    async def changes(self, shard: int, after: ShardPosition, limit: int) -> ShardChanges | None:
        found = self._shard(shard)
        if after.revision:
            known = any(change[:2] == after for change in found.changes)
        else:
            known = not found.changes or found.changes[0][0] == 1
        if not known:
            return None
        changes = [change for change in found.changes if change[0] > after.revision][:limit]
        items = [found.items[name] for revision, _, name in changes if found.items[name].revision == revision]
        position = ShardPosition(*changes[-1][:2]) if changes else after
        return ShardChanges(position, tuple(items), position.revision < found.position.revision)

    async def scan(self, shard: int, cursor: str, limit: int) -> ShardPage | None:
        self.scans += 1
        found = self._shard(shard)
        names = sorted(name for name in found.items if name > cursor)[:limit]
        following = names[-1] if len(names) == limit else ""
        return ShardPage(tuple(found.items[name] for name in names), following, found.position)

    async def definitions(self) -> Definitions:
        position = self._shard(CATALOGUE_SHARDS).position
        return Definitions(position, dict(self._attributes), dict(self._filters))

    async def set_attribute(self, name: str, expected: str | None, text: str | None) -> bool:
        return self._set(self._attributes, name, expected, text, MAX_ATTRIBUTES)

    async def set_filter(self, name: str, expected: str | None, text: str | None) -> bool:
        return self._set(self._filters, name, expected, text, MAX_FILTERS)

    def _set(self, texts: dict[str, str], name: str, expected: str | None, text: str | None, most: int) -> bool:
        shard = self._shard(CATALOGUE_SHARDS)
        if texts.get(name) == text:
            return True
        if texts.get(name) != expected:
            return False
        counted = sum(not other.startswith(OWN_NAME) for other in texts)
        if name not in texts and not name.startswith(OWN_NAME) and counted >= most:
            return False
        texts.pop(name, None)
        if text is not None:
            texts[name] = text
        shard.change(name, self._changes_kept)
        return True
