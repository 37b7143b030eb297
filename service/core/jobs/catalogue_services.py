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
from service.core.jobs.catalogue_sync import CatalogueMeter, CatalogueSync


class CatalogueServices(NamedTuple):
    """The catalogue in one worker.

    Attributes:
        copy: The worker's copy, which answers.
        sync: Keeps the copy up to date.
        items: Changes items in the store.
        definitions: Changes attributes and filters in the store.
        history: Compares revisions with the changes in the store.
    """

    copy: Catalogue
    sync: CatalogueSync
    items: ItemEditor
    definitions: DefinitionEditor
    history: RevisionHistory


async def open_catalogue(
    store: CatalogueStore, meter: CatalogueMeter, listed_only: bool, closing: AsyncExitStack
) -> CatalogueServices:
    """Read the catalogue, and start to follow it.

    Args:
        store: The catalogue's storage.
        meter: Metrics of the copy.
        listed_only: Whether only items with an entry may be in an answer.
        closing: Ends what was started.

    Raises:
        StoreUnavailable: A part of the catalogue cannot be read.
    """
    copy = Catalogue(CATALOGUE_SHARDS, listed_only=listed_only)
    closing.callback(copy.close)
    known = KnownDefinitions(store, copy.set_definitions)
    sync = CatalogueSync(store, copy, known, meter)
    closing.push_async_callback(sync.close)
    await sync.start()
    definitions = DefinitionEditor(store, known, copy.check)
    return CatalogueServices(copy, sync, ItemEditor(store, known), definitions, RevisionHistory(store))
