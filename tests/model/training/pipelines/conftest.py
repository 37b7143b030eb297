from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.training.logs import append
from tests.model.training.pipelines.retrain_harness import circle
from tests.store.backends import SqliteBackend


@pytest.fixture
def log(tmp_path: Path) -> SqliteBackend:
    """Provide a log with 192 events of 12 users."""
    backend = SqliteBackend(tmp_path / "events.db")
    append(backend, circle(12, 0, 16))
    return backend
