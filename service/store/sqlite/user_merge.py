"""How one user's log gets into another's in SQLite, within the caller's transaction."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass, replace
from itertools import count

from service.core.events import Merged
from service.core.ports import MERGES_KNOWN
from service.store.sqlite.retention import count_deletion, remove_user


@dataclass(frozen=True, slots=True)
class _Row:
    sequence: int
    item_id: str
    timestamp: float
    event_id: str | None
    fingerprint: str
    arrived: float


def merge(db: sqlite3.Connection, user_id: str, from_user_id: str, keep: int) -> Merged | None:
    """See `Store.merge`."""
    source = hashlib.sha1(from_user_id.encode(), usedforsecurity=False).hexdigest()
    if not db.execute("SELECT 1 FROM users WHERE user_id = ?", (from_user_id,)).fetchone():
        known = db.execute(
            "SELECT moved, duplicates, conflicts, sequence FROM merges WHERE user_id = ? AND source = ?",
            (user_id, source),
        ).fetchone()
        if known is None:
            return None
        moved, duplicates, conflicts, sequence = known
        return Merged(moved, duplicates, conflicts, sequence, repeated=True)
    own, others = _rows(db, user_id), _rows(db, from_user_id)
    taken = {row.event_id: row.fingerprint for row in own if row.event_id is not None}
    fresh = [row for row in others if row.event_id not in taken]
    duplicates = sum(taken.get(row.event_id) == row.fingerprint for row in others if row.event_id in taken)
    remove_user(db, from_user_id)
    sequence = _write(db, user_id, own, fresh, keep)
    merged = Merged(len(fresh), duplicates, len(others) - len(fresh) - duplicates, sequence)
    _remember(db, user_id, source, merged)
    return merged


def _write(db: sqlite3.Connection, user_id: str, own: list[_Row], fresh: list[_Row], keep: int) -> int:
    """Make the log of the user's `own` and the `fresh` events; its newest sequence."""
    found = db.execute("SELECT sequence, trimmed FROM users WHERE user_id = ?", (user_id,))
    sequence, trimmed = found.fetchone() or (0, 0)
    rows = sorted([*own, *fresh], key=lambda row: row.timestamp)
    unmoved = next((n for n, (row, mine) in enumerate(zip(rows, own, strict=False)) if row is not mine), len(own))
    numbers = count(sequence + 1)
    rows[unmoved:] = [replace(row, sequence=next(numbers)) for row in rows[unmoved:]]
    rows = _in_order_of_arrival(rows)
    cut = max(0, len(rows) - keep)
    if cut:
        trimmed = rows[cut - 1].sequence
    sequence += len(rows) - unmoved
    last = rows[unmoved - 1].sequence if unmoved else 0
    db.execute("DELETE FROM events WHERE user_id = ? AND (sequence > ? OR sequence <= ?)", (user_id, last, trimmed))
    db.executemany(
        "UPDATE events SET arrived = ? WHERE user_id = ? AND sequence = ?",
        [(row.arrived, user_id, row.sequence) for row in rows[cut:unmoved]],
    )
    db.executemany(
        "INSERT INTO events (user_id, sequence, item_id, timestamp, event_id, fingerprint, arrived)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (user_id, row.sequence, row.item_id, row.timestamp, row.event_id, row.fingerprint, row.arrived)
            for row in rows[max(cut, unmoved) :]
        ],
    )
    db.execute("DELETE FROM memos WHERE user_id = ?", (user_id,))
    db.execute("INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?)", (user_id, secrets.token_hex(8), sequence, trimmed))
    count_deletion(db)
    return int(sequence)


def _in_order_of_arrival(rows: list[_Row]) -> list[_Row]:
    """An event counts as having arrived no later than those behind it, so that age removes the oldest first."""
    ordered = rows[-1:]
    for row in reversed(rows[:-1]):
        ordered.append(replace(row, arrived=min(row.arrived, ordered[-1].arrived)))
    return ordered[::-1]


def _rows(db: sqlite3.Connection, user_id: str) -> list[_Row]:
    found = db.execute(
        "SELECT sequence, item_id, timestamp, event_id, fingerprint, coalesce(arrived, timestamp) FROM events"
        " WHERE user_id = ? ORDER BY sequence",
        (user_id,),
    )
    return [_Row(*row) for row in found]


def _remember(db: sqlite3.Connection, user_id: str, source: str, merged: Merged) -> None:
    """Keep the answer for who asks again."""
    db.execute(
        "INSERT OR REPLACE INTO merges (user_id, source, moved, duplicates, conflicts, sequence)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (user_id, source, merged.moved, merged.duplicates, merged.conflicts, merged.sequence),
    )
    db.execute(
        "DELETE FROM merges WHERE user_id = ? AND number NOT IN"
        " (SELECT number FROM merges WHERE user_id = ? ORDER BY number DESC LIMIT ?)",
        (user_id, user_id, MERGES_KNOWN),
    )
