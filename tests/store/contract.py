"""What every store must do. Each backend's tests inherit this suite and supply a `backend` fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.core.ports import Store
from tests.store.backends import Backend
from tests.store.contract_log import LogContract
from tests.store.contract_merge import MergeContract
from tests.store.contract_records import RecordsContract
from tests.store.contract_removal import RemovalContract
from tests.store.contract_snapshots import SnapshotContract


class StoreContract(LogContract, SnapshotContract, MergeContract, RecordsContract, RemovalContract):
    @pytest.fixture
    async def store(self, backend: Backend) -> AsyncIterator[Store]:
        store = await backend.open()
        yield store
        await store.close()
