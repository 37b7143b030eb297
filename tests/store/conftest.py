from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deployments import ClusterServers, SentinelServers
from tests.servers import RedisServer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One server for the tests that leave it running; they empty it before they begin."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[ClusterServers]:
    """One cluster for the tests that leave it as it is."""
    with ClusterServers() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def shared_sentinels() -> Iterator[SentinelServers]:
    """A primary and a replica that stay in their roles."""
    with SentinelServers() as servers:
        yield servers
