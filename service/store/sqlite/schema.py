"""The SQLite file behind the embedded store: its format, and how it is opened."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Literal

from service.store.errors import StoreRefusedError

FORMAT = 1
BUSY_SECONDS = 2.0  # how long a write waits for another process's

# `events.id` is one order over all users, never reused: what reads the log incrementally goes by it.
# `deletions.count` says how often an event or a user was deleted; it names nobody. These two tables are an interface:
# an export reads `events` by id from where it stopped, and from the beginning when the count has changed
# (model/training/data/event_log.py).
# `memos.first_write` orders a user's model versions by their first write.
_SCHEMA = """
CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    generation TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    trimmed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    item_id TEXT NOT NULL,
    timestamp REAL NOT NULL,
    event_id TEXT,
    fingerprint TEXT NOT NULL
);
CREATE UNIQUE INDEX events_by_sequence ON events (user_id, sequence);
CREATE UNIQUE INDEX events_by_id ON events (user_id, event_id) WHERE event_id IS NOT NULL;
CREATE TABLE memos (
    first_write INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL,
    model_version TEXT NOT NULL,
    applied INTEGER NOT NULL,
    blob BLOB NOT NULL,
    UNIQUE (user_id, model_version)
);
"""
# Apart, for files of this format that are older than these tables.
# `merges.source` is a digest of the id of a user that is no more.
_RECORDS = "CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID"
_MERGES = """
CREATE TABLE IF NOT EXISTS merges (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL,
    source TEXT NOT NULL,
    moved INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    conflicts INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    UNIQUE (user_id, source)
)"""
_DELETIONS = "CREATE TABLE IF NOT EXISTS deletions (one INTEGER PRIMARY KEY CHECK (one = 1), count INTEGER NOT NULL)"


def open_file(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """Connections for the log and for the memos, to be used in the calling thread; they begin no transaction alone.

    Memos can be rebuilt, so commits on their connection do not wait for the disk. A new file is made if there is
    none; raises `StoreRefusedError` unless an existing one is ours and of this format.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise StoreRefusedError(f"the folder {folder} does not exist; create it or correct the state URL.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreRefusedError(f"the folder {folder} is not writable; change its permissions or the state URL.")
    opened: list[sqlite3.Connection] = []
    try:
        opened.append(_connect(path, "FULL"))
        _prepare(opened[0], path)
        opened.append(_connect(path, "NORMAL"))
    except BaseException as error:
        for db in opened:
            db.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise StoreRefusedError(
                f"the data file {path} cannot be used ({error}); correct the state URL."
            ) from error
        raise
    return opened[0], opened[1]


def _connect(path: Path, synchronous: Literal["FULL", "NORMAL"]) -> sqlite3.Connection:
    db = sqlite3.connect(path.absolute(), timeout=BUSY_SECONDS, isolation_level=None)
    db.execute(f"PRAGMA synchronous={synchronous}")
    db.execute(
        "PRAGMA secure_delete=ON"
    )  # what is deleted is overwritten: a user's wish to be forgotten reaches the disk
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    # Another process may be at the same point; the second to get the lock finds the work done.
    db.execute("BEGIN IMMEDIATE")
    [existing] = db.execute("PRAGMA user_version").fetchone()
    if existing == 0:
        if db.execute("SELECT 1 FROM sqlite_schema").fetchone():
            raise StoreRefusedError(f"the data file {path} belongs to another program; name another file.")
        for statement in _SCHEMA.split(";\n"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version={FORMAT}")
    elif existing != FORMAT:
        raise StoreRefusedError(
            f"the data file {path} has format {existing} and this release reads {FORMAT};"
            " run the release that wrote it or name another file."
        )
    for table in (_DELETIONS, _RECORDS, _MERGES):
        db.execute(table)
    # When an event came, in Unix seconds; NULL, for those of older files, is when it is said to have happened.
    if not db.execute("SELECT 1 FROM pragma_table_info('events') WHERE name = 'arrived'").fetchone():
        db.execute("ALTER TABLE events ADD COLUMN arrived REAL")
    db.execute("COMMIT")
    # Readers then never wait for the writer. The mode stays in the file, so only the first opening changes it.
    db.execute("PRAGMA journal_mode=WAL")
