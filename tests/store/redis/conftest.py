from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.store.factory import OpenedStore
from tests.servers import RedisServer
from tests.store.backends import LONG_TIMEOUT_SECONDS, RedisBackend


@pytest.fixture
def backend(shared_redis: RedisServer) -> RedisBackend:
    """An empty server and a timeout that suits a busy machine."""
    backend = RedisBackend(shared_redis, timeout=LONG_TIMEOUT_SECONDS)
    with backend.client() as client:
        client.flushall()
    return backend


@pytest.fixture
async def store(backend: RedisBackend) -> AsyncIterator[OpenedStore]:
    """The opened store of `backend`."""
    store = await backend.open()
    yield store
    await store.close()
