"""Use cases that change items."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from service.core.catalogue.editing.item_changes import ItemChange, ItemTypes, declared_values, merge
from service.core.catalogue.editing.known_definitions import KnownDefinitions
from service.core.catalogue.items import Item, from_record, to_record
from service.core.catalogue.revisions import encode_revision
from service.core.catalogue_store import (
    CATALOGUE_SHARDS,
    CatalogueStore,
    ItemWrite,
    ShardPosition,
    Written,
    catalogue_shard,
)
from service.core.errors import ItemConflict, ItemNotFound, ServiceError, StoreUnavailable

MAX_ATTEMPTS = 8  # of changes that meet changes by others
_SLICE = 10  # changes that are merged before other requests get the event loop: a millisecond
_WRITTEN_AT_ONCE = 200  # items of one call of the store, and of one step of what follows it

Outcome = Written | ServiceError


class Edited(NamedTuple):
    """Outcomes of a batch.

    `revision` is the catalogue's revision from which on it has all changes of the batch.
    """

    outcomes: list[Outcome]
    revision: str


@dataclass(slots=True)
class _Draft:
    """New state of one item, after its changes in a batch."""

    item: Item
    record: bytes
    expected: int | None
    changes: list[int]


class ItemEditor:
    """Puts, patches and deletes items; first values declare attributes."""

    def __init__(self, store: CatalogueStore, definitions: KnownDefinitions) -> None:
        self._store = store
        self._definitions = definitions

    async def get(self, item_id: str) -> Item:
        """Read an item from the store, with the values of declared attributes.

        Raises `ItemNotFound`.
        """
        [stored] = await self._store.read_items([item_id])
        item = None if stored is None else from_record(item_id, stored.record)
        if item is None or item.deleted:
            raise ItemNotFound("the catalogue has no such item" if item is None else "the item was deleted")
        return self.declared(item)

    def declared(self, item: Item) -> Item:
        """Return the item with the values of declared attributes only."""
        return replace(item, attributes=declared_values(item, self._definitions.types))

    async def put(self, changes: Sequence[ItemChange]) -> Edited:
        """Replace the items, in order; one outcome each."""
        return await self._edit(changes, patch=False)

    async def patch(self, changes: Sequence[ItemChange]) -> Edited:
        """Merge the changes into the items, in order; one outcome each.

        An item that is not in the catalogue is created. A deleted one is `ItemNotFound`: only `put` brings it back.
        """
        return await self._edit(changes, patch=True)

    async def delete(self, item_id: str) -> Edited:
        """Replace the item by a tombstone, which blocks it."""
        tombstone = to_record(Item(item_id, deleted=True))
        return await self._edited(await self._store.write_items([ItemWrite(item_id, tombstone)]), [item_id])

    async def _edit(self, changes: Sequence[ItemChange], *, patch: bool) -> Edited:
        outcomes: dict[int, Outcome] = {}
        left = list(range(len(changes)))
        for _ in range(MAX_ATTEMPTS):
            drafts, failed = await self._draft(changes, left, patch=patch)
            outcomes.update(failed)
            left = []
            for start in range(0, len(drafts), _WRITTEN_AT_ONCE):
                written, conflicts = await self._write(drafts[start : start + _WRITTEN_AT_ONCE])
                outcomes.update(written)
                left += conflicts
            if not left:
                break
        conflict = ItemConflict("the item is being changed by others; read it and send the change again")
        outcomes.update(dict.fromkeys(left, conflict))
        ordered = [outcomes[index] for index in range(len(changes))]
        return await self._edited(ordered, [change.item_id for change in changes])

    async def _write(self, drafts: Sequence[_Draft]) -> tuple[dict[int, Outcome], list[int]]:
        """Write drafts; return outcomes by change, and the changes in conflict."""
        outcomes: dict[int, Outcome] = {}
        conflicts: list[int] = []
        writes = [ItemWrite(draft.item.item_id, draft.record, draft.expected) for draft in drafts]
        for draft, written in zip(drafts, await self._store.write_items(writes), strict=True):
            outcomes.update(dict.fromkeys(draft.changes, written))
            if isinstance(written, Written) and written.conflict:
                conflicts += draft.changes
        return outcomes, conflicts

    async def _draft(
        self, changes: Sequence[ItemChange], indices: Sequence[int], *, patch: bool
    ) -> tuple[list[_Draft], dict[int, Outcome]]:
        """Merge the changes into the stored items, and declare new attributes."""
        ids = list(dict.fromkeys(changes[index].item_id for index in indices))
        stored = await self._read(ids) if patch else {}
        for _ in range(MAX_ATTEMPTS):
            types, drafts, failed = await self._merge(changes, indices, stored if patch else None)
            if types == self._definitions.types:
                break
            await self._definitions.declare(types)
        else:
            raise StoreUnavailable("attributes are being declared by others; try again")
        return drafts, failed

    async def _merge(
        self,
        changes: Sequence[ItemChange],
        indices: Sequence[int],
        stored: Mapping[str, tuple[Item, int]] | None,
    ) -> tuple[ItemTypes, list[_Draft], dict[int, Outcome]]:
        types = self._definitions.types
        drafts: dict[str, _Draft] = {}
        failed: dict[int, Outcome] = {}
        for number, index in enumerate(indices):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            change = changes[index]
            draft = drafts.get(change.item_id)
            base, expected = Item(change.item_id), None
            if stored is not None:
                base, expected = stored.get(change.item_id, (base, 0))
                base = base if draft is None else draft.item
            try:
                if base.deleted:
                    raise ItemNotFound("the item was deleted; PUT brings it back")
                item, record, types = merge(base, change, types)
            except ServiceError as error:
                failed[index] = error
                continue
            earlier = [] if draft is None else draft.changes
            drafts[change.item_id] = _Draft(item, record, expected, [*earlier, index])
        return types, list(drafts.values()), failed

    async def _read(self, item_ids: Sequence[str]) -> dict[str, tuple[Item, int]]:
        """Read items, with their revisions."""
        found: dict[str, tuple[Item, int]] = {}
        for number, stored in enumerate(await self._store.read_items(item_ids)):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            if stored is not None:
                found[stored.item_id] = from_record(stored.item_id, stored.record), stored.revision
        return found

    async def _edited(self, outcomes: Sequence[Outcome], item_ids: Sequence[str]) -> Edited:
        positions = [ShardPosition(0, "")] * (CATALOGUE_SHARDS + 1)
        for number, (item_id, outcome) in enumerate(zip(item_ids, outcomes, strict=True), start=1):
            if number % _WRITTEN_AT_ONCE == 0:
                await asyncio.sleep(0)
            if isinstance(outcome, Written):
                shard = catalogue_shard(item_id)
                positions[shard] = max(positions[shard], outcome.position)
        positions[CATALOGUE_SHARDS] = self._definitions.current.position
        return Edited(list(outcomes), encode_revision(positions))
