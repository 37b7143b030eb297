from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model.training.logs import append, backends
from tests.model.training.pipelines.retrain_harness import circle
from tests.servers import RedisServer
from tests.store.backends import Backend, SqliteBackend


@pytest.fixture(scope="session")
def log_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Provide an empty event log on each kind of store."""
    yield from backends(request.param, tmp_path, lambda: request.getfixturevalue("log_redis"))


@pytest.fixture
def log(tmp_path: Path) -> SqliteBackend:
    """Provide a log with 192 events of 12 users."""
    backend = SqliteBackend(tmp_path / "events.db")
    append(backend, circle(12, 0, 16))
    return backend


@pytest.fixture
def circle_file(tmp_path: Path) -> Path:
    """Provide histories of 20 users who go round nine items."""
    source = tmp_path / "events.txt"
    source.write_text("".join(f"u{u} " + " ".join(f"i{(u + n) % 9}" for n in range(12)) + "\n" for u in range(20)))
    return source
