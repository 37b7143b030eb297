"""Tables of the SQLite file, and opening it.

`PRAGMA user_version` is the format of every row, save those of the catalogue (`catalogue_sql`)
and of new items' vectors (`item_vectors_sql`). Snapshots begin
with a format byte of their own (core/recommending/log_replay/snapshots.py), and the texts in `records` have one too
(core/rollout, core/jobs).

`events` and `deletions` are an interface: an export reads `events` by `id` from where it stopped, and from the start
when `deletions.count` has changed (model/training/data/event_log/).
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal

from service.store.errors import StoreRefusedError
from service.store.sqlite import attribution_sql, catalogue_sql, item_vectors_sql

FORMAT = 2  # 1 was never released
_USED_BY_ANOTHER = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
BUSY_SECONDS = 2.0  # how long a write waits for another process's transaction

_SCHEMA = """
CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    generation TEXT NOT NULL,
    sequence INTEGER NOT NULL,  -- the newest one given out
    trimmed INTEGER NOT NULL  -- the newest one that retention removed, 0 if none
) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival over all users, never reused
    user_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    item_id TEXT NOT NULL,
    timestamp REAL NOT NULL,  -- Unix seconds
    event_id TEXT,  -- NULL if the client gave none
    fingerprint TEXT NOT NULL,
    arrived REAL NOT NULL,  -- Unix seconds
    type TEXT,  -- NULL for a view
    value REAL,
    recommendation_id TEXT,
    credit TEXT  -- what it added to the counters: attribution_sql.py
);
CREATE UNIQUE INDEX events_by_sequence ON events (user_id, sequence);
CREATE UNIQUE INDEX events_by_id ON events (user_id, event_id) WHERE event_id IS NOT NULL;
CREATE INDEX events_by_type ON events (user_id, sequence) WHERE type IS NOT NULL;
CREATE TABLE snapshots (
    first_write INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of the first writes, of which the newest two are kept
    user_id TEXT NOT NULL,
    model_version TEXT NOT NULL,
    applied INTEGER NOT NULL,  -- sequence of the snapshot's newest event
    blob BLOB NOT NULL,
    UNIQUE (user_id, model_version)
);
CREATE TABLE merges (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL,
    source TEXT NOT NULL,  -- SHA-1 of the id of a user that was merged into this one
    moved INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    conflicts INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    UNIQUE (user_id, source)
);
CREATE TABLE deletions (  -- one row, from the first change of the log other than an append or retention
    one INTEGER PRIMARY KEY CHECK (one = 1),
    count INTEGER NOT NULL
);
CREATE TABLE records (  -- texts that the workers share
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL
) WITHOUT ROWID;
"""


def open_file(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """Open a connection for the log and one for the snapshots.

    Both are for the calling thread only, and neither starts transactions by itself. Commits of snapshots do not wait
    for the disk, because snapshots can be computed again. A missing file is created.

    Raises:
        StoreRefusedError: The file cannot be used, belongs to another program, or has another format.
    """
    check_folder(path)
    opened: list[sqlite3.Connection] = []
    is_new = False
    try:
        is_new = _create_private(path)
        opened.append(_connect(path, "FULL"))
        _prepare(opened[0], path)
        opened.append(_connect(path, "NORMAL"))
    except BaseException as error:
        for db in opened:
            db.close()
        if is_new and getattr(error, "sqlite_errorcode", 0) & 0xFF not in _USED_BY_ANOTHER:
            remove_if_unused(path)
        if isinstance(error, sqlite3.DatabaseError):
            raise _unusable(path, error) from error
        raise
    return opened[0], opened[1]


def open_catalogue(path: Path) -> sqlite3.Connection:
    """Open a connection for the catalogue and the vectors of new items.

    Raises:
        StoreRefusedError: The file cannot be used, or one of the two has another format.
    """
    db = _connect(path, "FULL")
    try:
        db.execute("BEGIN IMMEDIATE")
        catalogue_sql.prepare(db)
        item_vectors_sql.prepare(db)
        db.execute("COMMIT")
    except BaseException as error:
        db.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise _unusable(path, error) from error
        raise
    return db


def check_folder(path: Path) -> None:
    """Raise `StoreRefusedError` unless the file's folder can hold it."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise StoreRefusedError(f"the folder {folder} does not exist; create it or correct the state URL.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreRefusedError(f"the folder {folder} is not writable; change its permissions or the state URL.")


def _unusable(path: Path, error: sqlite3.DatabaseError) -> StoreRefusedError:
    return StoreRefusedError(f"the data file {path} cannot be used ({error}); correct the state URL.")


def remove_if_unused(path: Path) -> None:
    """Remove the file of a start that failed, unless it is used.

    It is used if it holds events or items, or if another process is writing. On a full disk nobody can have written
    any, so the write-ahead log need not be read then.
    """
    for options in ("mode=rw", "immutable=1"):
        try:
            uri = f"{path.absolute().as_uri()}?{options}"
            with closing(sqlite3.connect(uri, timeout=0.0, isolation_level=None, uri=True)) as db:
                if options == "mode=rw":
                    db.execute("BEGIN IMMEDIATE")
                tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
                if "events" in tables and db.execute("SELECT 1 FROM events LIMIT 1").fetchone():
                    return
                if "catalogue_items" in tables and db.execute("SELECT 1 FROM catalogue_items LIMIT 1").fetchone():
                    return
            break
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF in _USED_BY_ANOTHER:
                return
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _create_private(path: Path) -> bool:
    """Create a missing file that only this user can read.

    SQLite gives its other files the mode of this one. An existing file must not be opened here, because closing it
    would drop the locks of this process' connections.

    Returns:
        Whether the file was missing.
    """
    with suppress(OSError):  # it exists, or SQLite says why it cannot be used
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return True
    return False


def _connect(path: Path, synchronous: Literal["FULL", "NORMAL"]) -> sqlite3.Connection:
    db = sqlite3.connect(path.absolute(), timeout=BUSY_SECONDS, isolation_level=None)
    db.execute(f"PRAGMA synchronous={synchronous}")
    db.execute("PRAGMA secure_delete=ON")  # overwrite deleted rows, so that deleted users are gone from the disk
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Create the tables of a new file, or check the format."""
    # Of several processes that open a new file, the one that gets the lock creates the tables.
    db.execute("BEGIN IMMEDIATE")
    [found] = db.execute("PRAGMA user_version").fetchone()
    if found == 0:
        if db.execute("SELECT 1 FROM sqlite_schema").fetchone():
            raise StoreRefusedError(f"the data file {path} belongs to another program; name another file.")
        for statement in _SCHEMA.split(";\n"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version={FORMAT}")
    elif found != FORMAT:
        raise StoreRefusedError(
            f"the data file {path} has format {found} and this release reads {FORMAT};"
            " run the release that wrote it or name another file."
        )
    else:
        _add_columns(db)
    db.execute(attribution_sql.ATTRIBUTION_SCHEMA)
    db.execute("COMMIT")
    # With WAL, readers never wait for a writer. The mode is kept in the file, so only the first opening changes it.
    db.execute("PRAGMA journal_mode=WAL")


def _add_columns(db: sqlite3.Connection) -> None:
    """Add what a file of an earlier release lacks.

    Processes of that release go on: they name the columns of each row that they write.
    """
    present = {name for _, name, *_ in db.execute("PRAGMA table_info(events)")}
    for name, kind in (("type", "TEXT"), ("value", "REAL"), ("recommendation_id", "TEXT"), ("credit", "TEXT")):
        if name not in present:
            db.execute(f"ALTER TABLE events ADD COLUMN {name} {kind}")
    db.execute("CREATE INDEX IF NOT EXISTS events_by_type ON events (user_id, sequence) WHERE type IS NOT NULL")
