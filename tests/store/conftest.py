from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deployments import ClusterServers, SentinelServers
from tests.servers import RedisServer


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """A server for tests that do not stop it."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[ClusterServers]:
    """A cluster for tests that leave it unchanged."""
    with ClusterServers() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def shared_sentinels() -> Iterator[SentinelServers]:
    """A primary and a replica that keep their roles."""
    with SentinelServers() as servers:
        yield servers
