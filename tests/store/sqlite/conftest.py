from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.backends import SqliteBackend


@pytest.fixture
def backend(tmp_path: Path) -> SqliteBackend:
    return SqliteBackend(tmp_path / "events.db")
