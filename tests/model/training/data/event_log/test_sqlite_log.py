"""The SQLite log's reader: foreign and read-only files."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ingest.errors import DataError
from model.training.data.event_log import open_log
from tests.model.training.logs import append
from tests.store.backends import SqliteBackend

NOBODY = 65534


def items_of(path: Path) -> list[str]:
    with open_log(f"sqlite:///{path}") as log:
        return [event.item_id for event in log.read(0, (), 1000)[0]]


@contextmanager
def without_rights() -> Iterator[None]:
    """Act as a user who may only read the files."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Provide a folder that every user can read."""
    path = Path(tempfile.mkdtemp(prefix="read-only-"))
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


def make_read_only(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)


def test_file_that_is_not_an_event_log_raises(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database " * 200)
    with pytest.raises(DataError, match="cannot be read"):
        items_of(tmp_path / "text.db")
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("CREATE TABLE other (x)")
    with pytest.raises(DataError, match="not an event log of format 2"):
        items_of(tmp_path / "other.db")


def test_read_only_file_of_a_stopped_service_is_read(folder: Path) -> None:
    append(SqliteBackend(folder / "events.db"), [("a", "x", 1.0), ("a", "y", 2.0)])
    make_read_only(folder)
    with without_rights():
        assert items_of(folder / "events.db") == ["x", "y"]


def test_read_only_file_with_a_journal_left_by_a_kill_is_read(folder: Path) -> None:
    """The newest event is in the journal only."""
    append(SqliteBackend(folder / "live.db"), [("a", "x", 1.0)])
    with closing(sqlite3.connect(folder / "live.db")) as db:
        db.execute("UPDATE events SET item_id = 'z'")
        db.commit()
        for name in ("live.db", "live.db-wal"):
            shutil.copyfile(folder / name, folder / name.replace("live", "killed"))
    make_read_only(folder)
    with without_rights():
        assert items_of(folder / "killed.db") == ["z"]


def test_read_only_file_of_a_running_service_is_read(folder: Path) -> None:
    append(SqliteBackend(folder / "events.db"), [("a", "x", 1.0)])
    with closing(sqlite3.connect(folder / "events.db")) as db:
        db.execute("UPDATE events SET item_id = 'z'")
        db.commit()
        make_read_only(folder)
        with without_rights():
            assert items_of(folder / "events.db") == ["z"]
