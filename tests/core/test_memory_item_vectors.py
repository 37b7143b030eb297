"""The in-memory vectors of the tests keep the contract."""

from __future__ import annotations

import pytest

from service.core.new_items.vector_store import ItemVectorStore
from tests.core.memory_item_vectors import MemoryItemVectors
from tests.store.contract_item_vectors import ItemVectorsContract

pytestmark = pytest.mark.anyio


class TestMemoryItemVectors(ItemVectorsContract):
    @pytest.fixture
    def vectors(self) -> ItemVectorStore:
        return MemoryItemVectors()

    test_workers_that_append_at_the_same_time_agree = None
    test_vectors_are_apart_from_users_and_records = None
