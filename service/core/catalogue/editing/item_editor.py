"""Use cases that change items."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
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

Outcome = Written | ServiceError
Include = Callable[[Mapping[int, ShardPosition]], Awaitable[None]]


class EditMode(StrEnum):
    """Way to combine a change with the content until then."""

    PUT = "put"
    PATCH = "patch"
    DELETE = "delete"


class ItemEdit(NamedTuple):
    """One change of an item."""

    change: ItemChange
    mode: EditMode


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

    def __init__(self, store: CatalogueStore, definitions: KnownDefinitions, include: Include | None = None) -> None:
        """Edit a store.

        `include` brings this worker's copy to the positions of what was written.
        """
        self._store = store
        self._definitions = definitions
        self._include = include

    async def get(self, item_id: str) -> Item:
        """Read an item from the store, with the values of declared attributes.

        Raises `ItemNotFound`.
        """
        [stored] = await self._store.read_items([item_id])
        item = None if stored is None else from_record(item_id, stored.record)
        if item is None or item.deleted:
            raise ItemNotFound("the catalogue has no such item" if item is None else "the item was deleted")
        return self.declared(item)

    async def vectors(self, item_ids: Sequence[str]) -> dict[str, bytes | None]:
        """Read the vectors of those items that are in the store."""
        return {item_id: item.vector for item_id, (item, _) in (await self._read(item_ids)).items()}

    def declared(self, item: Item) -> Item:
        """Return the item with the values of declared attributes only."""
        return replace(item, attributes=declared_values(item, self._definitions.types))

    async def put(self, changes: Sequence[ItemChange]) -> Edited:
        """Replace the items, in order; one outcome each."""
        return await self._apply_here([ItemEdit(change, EditMode.PUT) for change in changes])

    async def patch(self, changes: Sequence[ItemChange]) -> Edited:
        """Merge the changes into the items, in order; one outcome each.

        An item that is not in the catalogue is created. A deleted one is `ItemNotFound`: only `put` brings it back.
        """
        return await self._apply_here([ItemEdit(change, EditMode.PATCH) for change in changes])

    async def delete(self, item_id: str) -> Edited:
        """Replace the item by a tombstone, which blocks it."""
        return await self._apply_here([ItemEdit(ItemChange(item_id), EditMode.DELETE)])

    async def apply(self, edits: Sequence[ItemEdit]) -> Edited:
        """Make the changes, in order; one outcome each.

        Several changes of one item are stored as one. So a batch can be repeated: its last put or deletion of an item
        counts, and earlier changes succeed with it. Unlike after the other methods, this worker's copy may get the
        changes later.
        """
        edited, _ = await self._apply(edits)
        return edited

    async def _apply(self, edits: Sequence[ItemEdit]) -> tuple[Edited, dict[int, ShardPosition]]:
        """Make the changes; return also the shards' new positions."""
        outcomes: dict[int, Outcome] = {}
        left = list(range(len(edits)))
        for _ in range(MAX_ATTEMPTS):
            drafts, failed = await self._draft(edits, left)
            outcomes.update(failed)
            writes = [ItemWrite(draft.item.item_id, draft.record, draft.expected) for draft in drafts]
            left = []
            for draft, written in zip(drafts, await self._store.write_items(writes), strict=True):
                outcomes.update(dict.fromkeys(draft.changes, written))
                if isinstance(written, Written) and written.conflict:
                    left += draft.changes
            if not left:
                break
        conflict = ItemConflict("the item is being changed by others; read it and send the change again")
        outcomes.update(dict.fromkeys(left, conflict))
        return self._edited([outcomes[index] for index in range(len(edits))], edits)

    async def _apply_here(self, edits: Sequence[ItemEdit]) -> Edited:
        """Make the changes, also in this worker's copy."""
        edited, written = await self._apply(edits)
        if self._include is not None:
            await self._include(written)
        return edited

    async def _draft(
        self, edits: Sequence[ItemEdit], indices: Sequence[int]
    ) -> tuple[list[_Draft], dict[int, Outcome]]:
        """Merge the changes into the stored items, and declare new attributes."""
        first_modes: dict[str, EditMode] = {}
        for index in indices:
            first_modes.setdefault(edits[index].change.item_id, edits[index].mode)
        patched = [item_id for item_id, mode in first_modes.items() if mode is EditMode.PATCH]
        stored = await self._read(patched) if patched else {}
        for _ in range(MAX_ATTEMPTS):
            types, drafts, failed = await self._merge(edits, indices, stored)
            if types == self._definitions.types:
                break
            await self._definitions.declare(types)
        else:
            raise StoreUnavailable("attributes are being declared by others; try again")
        return drafts, failed

    async def _merge(
        self, edits: Sequence[ItemEdit], indices: Sequence[int], stored: Mapping[str, tuple[Item, int]]
    ) -> tuple[ItemTypes, list[_Draft], dict[int, Outcome]]:
        types = self._definitions.types
        drafts: dict[str, _Draft] = {}
        failed: dict[int, Outcome] = {}
        replaced = {
            edits[index].change.item_id: index for index in indices if edits[index].mode is not EditMode.PATCH
        }
        for number, index in enumerate(indices):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            change, mode = edits[index]
            item_id = change.item_id
            draft = drafts.get(item_id)
            base, expected = Item(item_id), None if draft is None else draft.expected
            if mode is EditMode.PATCH:
                base, expected = (draft.item, expected) if draft else stored.get(item_id, (base, 0))
            if base.deleted and replaced.get(item_id, index) > index:
                base = Item(item_id)
            try:
                if base.deleted:
                    raise ItemNotFound("the item was deleted; PUT brings it back")
                if mode is EditMode.DELETE:
                    item = replace(base, deleted=True)
                    record = to_record(item)
                else:
                    item, record, types = merge(base, change, types)
            except ServiceError as error:
                failed[index] = error
                continue
            earlier = [] if draft is None else draft.changes
            drafts[item_id] = _Draft(item, record, expected, [*earlier, index])
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

    def _edited(self, outcomes: list[Outcome], edits: Sequence[ItemEdit]) -> tuple[Edited, dict[int, ShardPosition]]:
        positions = [ShardPosition(0, "")] * (CATALOGUE_SHARDS + 1)
        written = _positions(outcomes, edits)
        for shard, position in written.items():
            positions[shard] = position
        positions[CATALOGUE_SHARDS] = self._definitions.current.position
        return Edited(outcomes, encode_revision(positions)), written


def _positions(outcomes: Sequence[Outcome], edits: Sequence[ItemEdit]) -> dict[int, ShardPosition]:
    """Return the newest position of each shard that was written."""
    positions: dict[int, ShardPosition] = {}
    for edit, outcome in zip(edits, outcomes, strict=True):
        if isinstance(outcome, Written):
            shard = catalogue_shard(edit.change.item_id)
            positions[shard] = max(positions.get(shard, outcome.position), outcome.position)
    return positions
