"""Contract of every store: the suite that each backend's tests inherit.

They supply a `backend` fixture.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.core.catalogue_store import CatalogueStore
from service.core.new_items.vector_store import ItemVectorStore
from service.store.factory import OpenedStore
from tests.store.backends import Backend
from tests.store.contract_attribution import AttributionContract
from tests.store.contract_catalogue import CatalogueContract
from tests.store.contract_catalogue_changes import CatalogueChangesContract
from tests.store.contract_deletion import DeletionContract
from tests.store.contract_item_vectors import ItemVectorsContract
from tests.store.contract_log import LogContract
from tests.store.contract_merge import MergeContract
from tests.store.contract_records import RecordsContract
from tests.store.contract_retention import RetentionContract
from tests.store.contract_snapshots import SnapshotContract
from tests.store.contract_types import TypesContract


class StoreContract(
    LogContract,
    SnapshotContract,
    MergeContract,
    RecordsContract,
    DeletionContract,
    RetentionContract,
    AttributionContract,
    CatalogueContract,
    CatalogueChangesContract,
    ItemVectorsContract,
    TypesContract,
):
    @pytest.fixture
    async def store(self, backend: Backend) -> AsyncIterator[OpenedStore]:
        store = await backend.open()
        yield store
        await store.close()

    @pytest.fixture
    async def catalogue(self, store: OpenedStore) -> CatalogueStore:
        return store.catalogue

    @pytest.fixture
    async def vectors(self, store: OpenedStore) -> ItemVectorStore:
        return store.item_vectors
