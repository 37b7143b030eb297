"""The in-memory catalogue of the tests keeps the contract."""

from __future__ import annotations

import pytest

from service.core.catalogue_store import CatalogueStore
from tests.core.memory_catalogue import MemoryCatalogue
from tests.store.contract_catalogue import CatalogueContract
from tests.store.contract_catalogue_changes import CatalogueChangesContract

pytestmark = pytest.mark.anyio


class TestMemoryCatalogue(CatalogueContract, CatalogueChangesContract):
    @pytest.fixture
    def catalogue(self) -> CatalogueStore:
        return MemoryCatalogue()

    test_items_are_shared_with_other_processes = None
    test_workers_that_declare_at_the_same_time_keep_the_limit = None
    test_catalogue_is_apart_from_users_and_records = None
