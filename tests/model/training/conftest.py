from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model.training.logs import backends
from tests.servers import RedisServer
from tests.store.backends import Backend


@pytest.fixture(scope="session")
def log_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Provide an empty event log on each kind of store."""
    yield from backends(request.param, tmp_path, lambda: request.getfixturevalue("log_redis"))
