"""Tables and SQL of the catalogue.

Each change of an item has a row in `catalogue_changes`, under the number of its shard. The changes of definitions
have the number after the last shard. Each function runs within the caller's transaction.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence

from service.core.catalogue_store import (
    CATALOGUE_SHARDS,
    MAX_ATTRIBUTES,
    MAX_FILTERS,
    OWN_NAME,
    Definitions,
    ItemWrite,
    ShardChanges,
    ShardPage,
    ShardPosition,
    StoredItem,
    Written,
    catalogue_shard,
)
from service.store.errors import StoreRefusedError

CATALOGUE_FORMAT = 1
ATTRIBUTE, FILTER = "attribute", "filter"
_MOST = {ATTRIBUTE: MAX_ATTRIBUTES, FILTER: MAX_FILTERS}
_DEFINITIONS = CATALOGUE_SHARDS

# Created in files of earlier releases too, which do not know the tables and leave them alone.
CATALOGUE_SCHEMA = """
CREATE TABLE IF NOT EXISTS catalogue_format (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    format INTEGER NOT NULL  -- of the rows of the tables below
);
CREATE TABLE IF NOT EXISTS catalogue_items (
    shard INTEGER NOT NULL,
    item_id TEXT NOT NULL,
    revision INTEGER NOT NULL,  -- of the shard, at the item's newest change
    record BLOB NOT NULL,
    PRIMARY KEY (shard, item_id)
);
CREATE TABLE IF NOT EXISTS catalogue_changes (
    shard INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    token TEXT NOT NULL,
    name TEXT NOT NULL,  -- of the item or the definition
    PRIMARY KEY (shard, revision)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS catalogue_definitions (
    kind TEXT NOT NULL,  -- 'attribute' or 'filter'
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
"""


def prepare(db: sqlite3.Connection) -> None:
    """Create missing tables; raise `StoreRefusedError` for an unknown format."""
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'catalogue_definitions'").fetchone():
        for statement in CATALOGUE_SCHEMA.split(";\n"):
            db.execute(statement)
        db.execute("INSERT OR IGNORE INTO catalogue_format VALUES (1, ?)", (CATALOGUE_FORMAT,))
    [found] = db.execute("SELECT format FROM catalogue_format").fetchone() or (None,)
    if found != CATALOGUE_FORMAT:
        raise StoreRefusedError(
            f"the catalogue in the data file has format {found} and this release reads {CATALOGUE_FORMAT};"
            " run the release that wrote it or name another file."
        )


def write_items(db: sqlite3.Connection, writes: Sequence[ItemWrite], changes_kept: int) -> list[Written]:
    """See `CatalogueStore.write_items`."""
    token = secrets.token_hex(8)
    newest: dict[int, ShardPosition] = {}
    outcomes = []
    for write in writes:
        shard = catalogue_shard(write.item_id)
        key = (shard, write.item_id)
        row = db.execute("SELECT revision, record FROM catalogue_items WHERE shard = ? AND item_id = ?", key)
        known, record = row.fetchone() or (0, None)
        position = newest.get(shard) or newest_position(db, shard)
        if write.expected is not None and write.expected != known:
            outcomes.append(Written(known, False, True, position))
        elif record == write.record:
            outcomes.append(Written(known, False, False, position))
        else:
            revision = position.revision + 1
            position = newest[shard] = ShardPosition(revision, token)
            db.execute("INSERT INTO catalogue_changes VALUES (?, ?, ?, ?)", (shard, *position, write.item_id))
            # Not INSERT OR REPLACE: a row keeps its rowid, and a scan its place.
            db.execute(
                "INSERT INTO catalogue_items VALUES (?1, ?2, ?3, ?4)"
                " ON CONFLICT DO UPDATE SET revision = ?3, record = ?4",
                (*key, revision, write.record),
            )
            outcomes.append(Written(revision, True, False, position))
    for shard, position in newest.items():
        _trim(db, shard, position.revision - changes_kept)
    return outcomes


def read_items(db: sqlite3.Connection, item_ids: Sequence[str]) -> list[StoredItem | None]:
    """See `CatalogueStore.read_items`."""
    found: list[StoredItem | None] = []
    for item_id in item_ids:
        row = db.execute(
            "SELECT item_id, revision, record FROM catalogue_items WHERE shard = ? AND item_id = ?",
            (catalogue_shard(item_id), item_id),
        ).fetchone()
        found.append(None if row is None else StoredItem(*row))
    return found


def positions(db: sqlite3.Connection) -> list[ShardPosition]:
    """See `CatalogueStore.positions`."""
    return [newest_position(db, shard) for shard in range(CATALOGUE_SHARDS + 1)]


def newest_position(db: sqlite3.Connection, shard: int) -> ShardPosition:
    """Return the position of the shard's newest change."""
    row = db.execute(
        "SELECT revision, token FROM catalogue_changes WHERE shard = ? ORDER BY revision DESC LIMIT 1", (shard,)
    )
    return ShardPosition(*(row.fetchone() or (0, "")))


def position_at(db: sqlite3.Connection, shard: int, revision: int) -> ShardPosition | None:
    """See `CatalogueStore.position_at`."""
    query = "SELECT revision, token FROM catalogue_changes WHERE shard = ? AND revision = ?"
    row = db.execute(query, (shard, revision)).fetchone()
    return row and ShardPosition(*row)


def changes(db: sqlite3.Connection, shard: int, after: ShardPosition, limit: int) -> ShardChanges | None:
    """See `CatalogueStore.changes`."""
    if after.revision:
        known = position_at(db, shard, after.revision) == after
    else:
        [first] = db.execute("SELECT min(revision) FROM catalogue_changes WHERE shard = ?", (shard,)).fetchone()
        known = first in (None, 1)
    if not known:
        return None
    rows = db.execute(
        "SELECT c.revision, c.token, i.item_id, i.revision, i.record FROM catalogue_changes c"
        " JOIN catalogue_items i ON i.shard = c.shard AND i.item_id = c.name"
        " WHERE c.shard = ? AND c.revision > ? ORDER BY c.revision LIMIT ?",
        (shard, after.revision, limit),
    ).fetchall()
    position = ShardPosition(*rows[-1][:2]) if rows else after
    items = tuple(StoredItem(*row[2:]) for row in rows if row[0] == row[3])
    return ShardChanges(position, items, position.revision < newest_position(db, shard).revision)


def scan(db: sqlite3.Connection, shard: int, cursor: str, limit: int) -> ShardPage:
    """See `CatalogueStore.scan`. The cursor is the last item id, after a mark."""
    rows = db.execute(
        "SELECT item_id, revision, record FROM catalogue_items WHERE shard = ? AND item_id > ?"
        " ORDER BY item_id LIMIT ?",
        (shard, cursor[1:], limit),
    ).fetchall()
    following = f">{rows[-1][0]}" if len(rows) == limit else ""
    return ShardPage(tuple(StoredItem(*row) for row in rows), following, newest_position(db, shard))


def definitions(db: sqlite3.Connection) -> Definitions:
    """See `CatalogueStore.definitions`."""
    texts: dict[str, dict[str, str]] = {ATTRIBUTE: {}, FILTER: {}}
    for kind, name, text in db.execute("SELECT kind, name, text FROM catalogue_definitions"):
        texts[kind][name] = text
    return Definitions(newest_position(db, _DEFINITIONS), texts[ATTRIBUTE], texts[FILTER])


def set_definition(
    db: sqlite3.Connection, kind: str, name: str, expected: str | None, text: str | None, changes_kept: int
) -> bool:
    """Replace a definition if it has the expected text.

    A new one is refused if there are too many.
    """
    row = db.execute("SELECT text FROM catalogue_definitions WHERE kind = ? AND name = ?", (kind, name))
    [current] = row.fetchone() or (None,)
    if current == text:
        return True
    if current != expected or (current is None and _is_full(db, kind, name)):
        return False
    if text is None:
        db.execute("DELETE FROM catalogue_definitions WHERE kind = ? AND name = ?", (kind, name))
    else:
        db.execute("INSERT OR REPLACE INTO catalogue_definitions VALUES (?, ?, ?)", (kind, name, text))
    revision = newest_position(db, _DEFINITIONS).revision + 1
    db.execute(
        "INSERT INTO catalogue_changes VALUES (?, ?, ?, ?)", (_DEFINITIONS, revision, secrets.token_hex(8), name)
    )
    _trim(db, _DEFINITIONS, revision - changes_kept)
    return True


def _is_full(db: sqlite3.Connection, kind: str, name: str) -> bool:
    if name.startswith(OWN_NAME):
        return False
    counted = db.execute(
        "SELECT count(*) FROM catalogue_definitions WHERE kind = ? AND substr(name, 1, 1) <> ?", (kind, OWN_NAME)
    )
    return int(counted.fetchone()[0]) >= _MOST[kind]


def _trim(db: sqlite3.Connection, shard: int, revision: int) -> None:
    """Remove the shard's changes up to the revision."""
    db.execute("DELETE FROM catalogue_changes WHERE shard = ? AND revision <= ?", (shard, revision))
