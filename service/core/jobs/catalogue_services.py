"""The catalogue's parts in one worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from typing import NamedTuple, Protocol

from service.core.catalogue.catalogue import Catalogue
from service.core.catalogue.editing.definition_editor import DefinitionEditor
from service.core.catalogue.editing.item_editor import ItemEditor
from service.core.catalogue.editing.known_definitions import KnownDefinitions
from service.core.catalogue.revision_history import RevisionHistory
from service.core.catalogue_store import CATALOGUE_SHARDS, CatalogueStore
from service.core.column_snapshots import ColumnSnapshots
from service.core.jobs.catalogue_sync import CatalogueMeter, CatalogueSync
from service.core.jobs.catalogue_upkeep import CatalogueUpkeep
from service.core.jobs.new_items.vector_sync import VectorMeter, VectorSync
from service.core.new_items.vector_store import ItemVectorStore


class CatalogueServices(NamedTuple):
    """The catalogue in one worker.

    Attributes:
        copy: The worker's copy, which answers.
        sync: Keeps the copy up to date.
        vectors: Gives new items their vectors in the loaded models.
        upkeep: Keeps the copy compact, and its snapshot.
        items: Changes items in the store.
        definitions: Changes attributes and filters in the store.
        history: Compares revisions with the changes in the store.
    """

    copy: Catalogue
    sync: CatalogueSync
    vectors: VectorSync
    upkeep: CatalogueUpkeep
    items: ItemEditor
    definitions: DefinitionEditor
    history: RevisionHistory

    async def start(self, loadable: Callable[[], Awaitable[Collection[str]]] | None = None) -> None:
        """Read the catalogue and the new items' vectors, and follow both.

        The models should be loaded before: their items then have the same numbers in the catalogue. Raises
        `StoreUnavailable` if a part of the catalogue cannot be read.
        """
        await self.sync.start()
        await self.vectors.start(loadable)
        self.upkeep.start()


class CatalogueStores(NamedTuple):
    """Storage of the catalogue.

    Attributes:
        items: The catalogue.
        vectors: The vectors of new items.
        snapshots: Place of the columns' snapshot, if one is kept.
    """

    items: CatalogueStore
    vectors: ItemVectorStore
    snapshots: ColumnSnapshots | None = None


class CatalogueMeters(CatalogueMeter, VectorMeter, Protocol):
    """Metrics of the copy and of the vectors."""


def create_catalogue(
    stores: CatalogueStores, meter: CatalogueMeters, listed_only: bool, closing: AsyncExitStack
) -> CatalogueServices:
    """Create the parts without starting them.

    Args:
        stores: The storage.
        meter: Metrics.
        listed_only: Whether only items with an entry may be in an answer.
        closing: Ends what will be started.
    """
    store = stores.items
    copy = Catalogue(CATALOGUE_SHARDS, listed_only=listed_only)
    closing.callback(copy.close)
    known = KnownDefinitions(store, copy.set_definitions)
    upkeep = CatalogueUpkeep(copy, store, stores.snapshots)
    closing.push_async_callback(upkeep.close)
    sync = CatalogueSync(store, copy, known, meter, restore=upkeep.restore)
    closing.push_async_callback(sync.close)
    vectors = VectorSync(stores.vectors, store, copy, meter)
    closing.push_async_callback(vectors.close)
    editors = ItemEditor(store, known, sync.include), DefinitionEditor(store, known, copy.check)
    return CatalogueServices(copy, sync, vectors, upkeep, *editors, RevisionHistory(store))
