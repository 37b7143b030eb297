"""Table and SQL of new items' vectors.

Each function runs within the caller's transaction.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence

from service.core.new_items.vector_store import TOKEN_CHARACTERS, VectorEntry, VectorPage, VectorPosition
from service.store.errors import StoreRefusedError

VECTOR_FORMAT = 1

# Created in files of earlier releases too, which do not know the tables and leave them alone.
VECTOR_SCHEMA = """
CREATE TABLE IF NOT EXISTS item_vectors_format (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    format INTEGER NOT NULL  -- of the rows of the table below
);
CREATE TABLE IF NOT EXISTS item_vectors (
    model_version TEXT NOT NULL,
    number INTEGER NOT NULL,  -- place in the version's list, from 1
    item_id TEXT NOT NULL,
    token TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (model_version, number)
);
CREATE UNIQUE INDEX IF NOT EXISTS item_vectors_by_item ON item_vectors (model_version, item_id);
"""


def prepare(db: sqlite3.Connection) -> None:
    """Create missing tables; raise `StoreRefusedError` for an unknown format."""
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'item_vectors_by_item'").fetchone():
        for statement in VECTOR_SCHEMA.split(";\n"):
            db.execute(statement)
        db.execute("INSERT OR IGNORE INTO item_vectors_format VALUES (1, ?)", (VECTOR_FORMAT,))
    [found] = db.execute("SELECT format FROM item_vectors_format").fetchone() or (None,)
    if found != VECTOR_FORMAT:
        raise StoreRefusedError(
            f"the vectors of new items in the data file have format {found} and this release reads {VECTOR_FORMAT};"
            " run the release that wrote it or name another file."
        )


def append(db: sqlite3.Connection, version: str, vectors: Sequence[tuple[str, bytes]]) -> list[VectorEntry]:
    """See `ItemVectorStore.append`."""
    token = secrets.token_hex(TOKEN_CHARACTERS // 2)
    newest = db.execute("SELECT max(number) FROM item_vectors WHERE model_version = ?", (version,))
    count = newest.fetchone()[0] or 0
    entries = []
    for item_id, vector in vectors:
        row = db.execute(
            "SELECT number, item_id, vector, token FROM item_vectors WHERE model_version = ? AND item_id = ?",
            (version, item_id),
        ).fetchone()
        if row is None:
            count += 1
            row = (count, item_id, vector, token)
            db.execute("INSERT INTO item_vectors VALUES (?, ?, ?, ?, ?)", (version, count, item_id, token, vector))
        entries.append(VectorEntry(*row))
    return entries


def read(db: sqlite3.Connection, version: str, after: VectorPosition, limit: int) -> VectorPage | None:
    """See `ItemVectorStore.read`."""
    if after.revision:
        row = db.execute(
            "SELECT token FROM item_vectors WHERE model_version = ? AND number = ?", (version, after.revision)
        ).fetchone()
        if row is None or row[0] != after.token:
            return None
    rows = db.execute(
        "SELECT number, item_id, vector, token FROM item_vectors WHERE model_version = ? AND number > ?"
        " ORDER BY number LIMIT ?",
        (version, after.revision, limit + 1),
    ).fetchall()
    return VectorPage(tuple(VectorEntry(*row) for row in rows[:limit]), len(rows) > limit)


def versions(db: sqlite3.Connection) -> list[str]:
    """See `ItemVectorStore.versions`."""
    # A list always has a first entry.
    return [
        version for (version,) in db.execute("SELECT model_version FROM item_vectors WHERE number = 1 ORDER BY 1")
    ]


def forget(db: sqlite3.Connection, version: str) -> None:
    """See `ItemVectorStore.forget`."""
    db.execute("DELETE FROM item_vectors WHERE model_version = ?", (version,))
