"""What every store must do. Each backend's tests inherit this suite and supply a `backend` fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.core.store_port import Store
from tests.store.backends import Backend
from tests.store.contract_log import LogContract
from tests.store.contract_merge import MergeContract
from tests.store.contract_records import NotesContract
from tests.store.contract_removal import RemovalContract
from tests.store.contract_snapshots import MemoContract


class StoreContract(LogContract, MemoContract, MergeContract, NotesContract, RemovalContract):
    @pytest.fixture
    async def store(self, backend: Backend) -> AsyncIterator[Store]:
        store = await backend.open()
        yield store
        await store.close()
