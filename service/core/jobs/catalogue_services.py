"""The catalogue's parts in one worker."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import NamedTuple

from service.core.catalogue.catalogue import Catalogue
from service.core.catalogue.editing.definition_editor import DefinitionEditor
from service.core.catalogue.editing.item_editor import ItemEditor
from service.core.catalogue.editing.known_definitions import KnownDefinitions
from service.core.catalogue.revision_history import RevisionHistory
from service.core.catalogue_store import CATALOGUE_SHARDS, CatalogueStore
from service.core.column_snapshots import ColumnSnapshots
from service.core.jobs.catalogue_sync import CatalogueMeter, CatalogueSync
from service.core.jobs.catalogue_upkeep import CatalogueUpkeep


class CatalogueServices(NamedTuple):
    """The catalogue in one worker.

    Attributes:
        copy: The worker's copy, which answers.
        sync: Keeps the copy up to date.
        upkeep: Keeps the copy compact, and its snapshot.
        items: Changes items in the store.
        definitions: Changes attributes and filters in the store.
        history: Compares revisions with the changes in the store.
    """

    copy: Catalogue
    sync: CatalogueSync
    upkeep: CatalogueUpkeep
    items: ItemEditor
    definitions: DefinitionEditor
    history: RevisionHistory

    async def start(self) -> None:
        """Read the catalogue, and begin to follow it.

        The models should be loaded before: their items then have the same numbers in the catalogue. Raises
        `StoreUnavailable` if a part of the catalogue cannot be read.
        """
        await self.sync.start()
        self.upkeep.start()


def create_catalogue(
    store: CatalogueStore,
    meter: CatalogueMeter,
    listed_only: bool,
    closing: AsyncExitStack,
    snapshots: ColumnSnapshots | None = None,
) -> CatalogueServices:
    """Create the parts without starting them.

    Args:
        store: The catalogue's storage.
        meter: Metrics of the copy.
        listed_only: Whether only items with an entry may be in an answer.
        closing: Ends what will be started.
        snapshots: Place of the columns' snapshot, if one is kept.
    """
    copy = Catalogue(CATALOGUE_SHARDS, listed_only=listed_only)
    closing.callback(copy.close)
    known = KnownDefinitions(store, copy.set_definitions)
    upkeep = CatalogueUpkeep(copy, store, snapshots)
    closing.push_async_callback(upkeep.close)
    sync = CatalogueSync(store, copy, known, meter, restore=upkeep.restore)
    closing.push_async_callback(sync.close)
    editors = ItemEditor(store, known, sync.include), DefinitionEditor(store, known, copy.check)
    return CatalogueServices(copy, sync, upkeep, *editors, RevisionHistory(store))
