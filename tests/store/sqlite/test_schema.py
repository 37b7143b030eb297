"""Opening a SQLite file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from service.store.errors import StoreRefusedError
from tests.store.backends import SqliteBackend

pytestmark = pytest.mark.anyio


@pytest.fixture
def backend(tmp_path: Path) -> SqliteBackend:
    return SqliteBackend(tmp_path / "events.db")


async def test_folder_without_write_permission_is_refused(
    backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(StoreRefusedError, match="not writable"):
        await backend.open()
    assert not backend.path.exists()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("PRAGMA user_version=1", "has format 1 and this release reads 2"),
        ("PRAGMA user_version=3", "has format 3 and this release reads 2"),
        ("CREATE TABLE theirs (x)", "another program"),
    ],
)
async def test_file_of_another_program_or_format_is_refused_and_unchanged(
    backend: SqliteBackend, script: str, message: str
) -> None:
    with closing(sqlite3.connect(backend.path)) as db:
        db.execute(script)
    before = backend.path.read_bytes()
    with pytest.raises(StoreRefusedError, match=message):
        await backend.open()
    assert backend.path.read_bytes() == before


async def test_file_that_is_no_database_is_refused(backend: SqliteBackend) -> None:
    backend.path.write_text("some other text " * 100)
    with pytest.raises(StoreRefusedError, match="cannot be used"):
        await backend.open()
