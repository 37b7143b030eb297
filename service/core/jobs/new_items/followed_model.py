"""Vectors of one model's new items in a worker."""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np

from service.core.catalogue.items import Item, from_record
from service.core.catalogue_store import StoredItem
from service.core.new_items.encoder_input import ItemContent
from service.core.new_items.held_vectors import HeldVectors
from service.core.new_items.vector_store import START, ItemVectorStore, VectorEntry
from service.core.ports import Engine

CHUNK = 64  # items whose vectors are computed at once: some milliseconds of a thread
_PAGE = 1024

InThread = Callable[[Callable[[], Any]], Coroutine[Any, Any, Any]]


class ItemRecords(Protocol):
    """Part of `core.catalogue_store.CatalogueStore` that this needs."""

    async def read_items(self, item_ids: Sequence[str]) -> list[StoredItem | None]:
        """Read the newest records."""
        ...


class Changes(Protocol):
    """Part of `core.catalogue.filter_bitmaps.changed_rows.ChangedRows` that this needs."""

    position: int


class CopiedItems(Protocol):
    """Part of `core.catalogue.applied_items.AppliedItems` that this needs."""

    @property
    def changes(self) -> Changes:
        """Log of the copy's changes."""
        ...

    def items_since(self, position: int) -> list[str] | None:
        """Return the items that changed after a position, if known."""
        ...

    def all_items(self) -> AsyncIterator[list[str]]:
        """Yield all items that are not deleted, in slices."""
        ...


class ExtendedRows(Protocol):
    """Part of `core.catalogue.catalogue.Catalogue` that this needs."""

    def extend_model(self, version: str, first: int, item_ids: Sequence[str]) -> None:
        """Map the rows of new items, from the `first` one on."""
        ...


class FollowedModel:
    """Extends an engine by the entries of its list.

    Attributes:
        version: The model version.
        held: The entries that the engine has.
        waiting: Items that may need a vector, with the number of the collection that found them.
        collection: Number of the last collection.
        must_scan: Whether any item of the worker's copy may be missing among them.
        lock: Held while reading or computing.
    """

    def __init__(
        self,
        engine: Engine,
        store: ItemVectorStore,
        records: ItemRecords,
        items: CopiedItems,
        rows: ExtendedRows,
        in_thread: InThread,
    ) -> None:
        self.version = engine.version
        self.held = HeldVectors()
        self.waiting: dict[str, int] = {}
        self.lock = asyncio.Lock()
        self._engine = weakref.ref(engine)  # requests and the rollout decide how long it lives
        self._store = store
        self._records = records
        self._items = items
        self._rows = rows
        self._in_thread = in_thread
        self._seen = items.changes.position
        self.collection = 0
        self._awaited: int | None = None  # collection that `is_complete` was first asked for
        self.must_scan = True
        self._random = random.Random()  # noqa: S311 - spreads the work of several workers

    def is_complete(self) -> bool:
        """Return whether each item of the copy has its vector, if possible.

        Items that are put after the first of several questions do not count: otherwise a steady stream of them would
        hold up a rollout for ever.
        """
        self.collect()
        if self._awaited is None:
            self._awaited = self.collection
        if self.waits_for(self._awaited):
            return False
        self._awaited = None
        return True

    def waits_for(self, collection: int) -> bool:
        """Return whether items of this collection, or of earlier ones, wait."""
        return self.must_scan or any(number <= collection for number in self.waiting.values())

    def may_learn(self, item_id: str) -> bool:
        """Return whether an item without a vector may get one now."""
        self.collect()
        return item_id in self.waiting

    def collect(self) -> None:
        """Add the items that have changed in the worker's copy."""
        if (position := self._items.changes.position) == self._seen:
            return
        changed, self._seen = self._items.items_since(self._seen), position
        if changed is None:
            self.must_scan = True
        else:
            self._add(changed)

    async def scan(self) -> None:
        """Add all items of the worker's copy, if that is needed."""
        if self.must_scan:
            self.must_scan, self._seen = False, self._items.changes.position
            async for item_ids in self._items.all_items():
                self._add(item_ids)

    async def follow(self) -> None:
        """Read the list to its end; raises `StoreUnavailable`."""
        while True:
            page = await self._store.read(self.version, self.held.position, _PAGE)
            if page is None:
                await self._read_again()
                return
            self._extend(page.entries)
            if not page.more:
                return

    async def compute(self, item_ids: Collection[str]) -> None:
        """Compute the vectors of some items, and append them.

        Raises `StoreUnavailable`.
        """
        engine = self._engine()
        if engine is None or engine.encoder is None:
            return
        taken = {item_id: self.waiting.get(item_id) for item_id in item_ids}
        contents = await self._contents([item_id for item_id in item_ids if not engine.knows(item_id)])
        if contents:
            encoder = engine.encoder
            vectors, has_vector = await self._in_thread(lambda: encoder.encode_all(list(contents.values())))
            found = [
                (item_id, vector.astype("<f4").tobytes())
                for item_id, vector, has_one in zip(contents, vectors, has_vector, strict=True)
                if has_one and np.isfinite(vector).all()
            ]
            if found:
                await self._store.append(self.version, found)
                await self.follow()
        for item_id, collection in taken.items():
            if self.waiting.get(item_id) == collection:  # else it has changed meanwhile
                self.waiting.pop(item_id, None)

    async def compute_next(self) -> None:
        """Compute vectors of the oldest and the newest items that wait.

        A single item that is put during a large load does not wait for the end of the load.
        """
        oldest, newest = (islice(each, CHUNK // 2) for each in (self.waiting, reversed(self.waiting)))
        await self.compute(list(dict.fromkeys((*oldest, *newest))))

    async def _contents(self, item_ids: Sequence[str]) -> dict[str, ItemContent]:
        """Return the items' contents, which the copy has only in part."""
        found: dict[str, ItemContent] = {}
        for stored in await self._records.read_items(item_ids) if item_ids else ():
            if stored is not None:
                item = from_record(stored.item_id, stored.record)
                if not item.deleted:
                    found[item.item_id] = content_of(item)
        return found

    async def _read_again(self) -> None:
        """Replace the entries, of which a failover has undone some."""
        entries: list[VectorEntry] = []
        while True:
            page = await self._store.read(self.version, entries[-1].position if entries else START, _PAGE)
            if page is None:  # another failover
                entries.clear()
                continue
            entries += page.entries
            if not page.more:
                break
        if (engine := self._engine()) is not None:
            engine.reset_extension()
            self.held.clear()
            self._extend(entries)
            self.must_scan = True

    def _extend(self, entries: Sequence[VectorEntry]) -> None:
        engine = self._engine()
        if not entries or engine is None:
            return
        first = entries[0].number
        engine.extend(first, [(entry.item_id, np.frombuffer(entry.vector, "<f4")) for entry in entries])
        self._rows.extend_model(self.version, first, [entry.item_id for entry in entries])
        self.held.extend(entries)

    def _add(self, item_ids: Iterable[str]) -> None:
        engine = self._engine()
        if engine is None:
            return
        added = [item_id for item_id in item_ids if not engine.knows(item_id)]
        if len(added) > CHUNK:  # workers that begin with different items repeat less of each other's work
            self._random.shuffle(added)
        self.collection += 1
        for item_id in added:
            self.waiting[item_id] = self.collection


def content_of(item: Item) -> ItemContent:
    """Return an item's content."""
    vector = None if item.vector is None else np.frombuffer(item.vector, "<f4")
    return ItemContent(item.title, item.categories, item.attributes, vector)
