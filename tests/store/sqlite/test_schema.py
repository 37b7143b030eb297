"""Opening a SQLite file."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from service.store.errors import StoreRefusedError
from service.store.sqlite.schema import open_file, remove_if_unused
from tests.store.backends import SqliteBackend

pytestmark = pytest.mark.anyio


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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


async def test_start_on_a_full_disk_leaves_no_file(backend: SqliteBackend) -> None:
    """The largest size of a file stands for the room left."""
    refused = 0
    for room in range(0, 400_000, 20_000):
        with file_size_limit(room):
            try:
                for db in open_file(backend.path):
                    db.close()
            except StoreRefusedError:
                refused += 1
                assert list(backend.path.parent.iterdir()) == [], room
            else:
                break
    assert refused > 1
    assert backend.path.exists()


async def test_file_in_which_another_process_creates_the_tables_stays(backend: SqliteBackend) -> None:
    backend.path.touch()
    with closing(sqlite3.connect(backend.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreRefusedError, match="locked"):
            await backend.open()
    assert backend.path.exists()


def test_file_with_events_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    for db in open_file(path):
        if not db.execute("SELECT 1 FROM events").fetchone():
            columns = "user_id, sequence, item_id, timestamp, fingerprint, arrived"
            db.execute(f"INSERT INTO events ({columns}) VALUES ('u', 1, 'i', 0, '', 0)")
        remove_if_unused(path)
        db.close()
        remove_if_unused(path)
    assert path.exists()


def test_file_that_another_process_is_creating_is_never_removed(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        remove_if_unused(tmp_path / "events.db")
    assert (tmp_path / "events.db").exists()


def test_file_without_events_is_removed_with_its_log(tmp_path: Path) -> None:
    for db in open_file(tmp_path / "events.db"):
        db.close()
    remove_if_unused(tmp_path / "events.db")
    assert list(tmp_path.iterdir()) == []
