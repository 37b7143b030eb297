"""Merging one user's log into another's, within the caller's transaction."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from itertools import count
from typing import NamedTuple

from service.core.events import MERGES_KNOWN, Merged
from service.store.sqlite.retention import count_deletion, remove_user


class _Row(NamedTuple):
    """The columns of an event.

    A tuple: copies of data classes took two thirds of a merge.
    """

    sequence: int
    item_id: str
    timestamp: float
    event_id: str | None
    fingerprint: str
    arrived: float
    type: str | None
    value: float | None
    recommendation_id: str | None
    credit: str | None


_COLUMNS = ", ".join(_Row._fields)


def merge(db: sqlite3.Connection, user_id: str, from_user_id: str, events_kept: int) -> Merged | None:
    """See `Store.merge`."""
    source = hashlib.sha1(from_user_id.encode(), usedforsecurity=False).hexdigest()
    if not db.execute("SELECT 1 FROM users WHERE user_id = ?", (from_user_id,)).fetchone():
        earlier = db.execute(
            "SELECT moved, duplicates, conflicts, sequence FROM merges WHERE user_id = ? AND source = ?",
            (user_id, source),
        ).fetchone()
        if earlier is None:
            return None
        moved, duplicates, conflicts, sequence = earlier
        return Merged(moved, duplicates, conflicts, sequence, repeated=True)
    own, theirs = _rows(db, user_id), _rows(db, from_user_id)
    taken = {row.event_id: row.fingerprint for row in own if row.event_id is not None}
    new = [row for row in theirs if row.event_id not in taken]
    duplicates = sum(taken.get(row.event_id) == row.fingerprint for row in theirs if row.event_id in taken)
    remove_user(db, from_user_id)
    sequence = _write(db, user_id, own, new, events_kept)
    merged = Merged(len(new), duplicates, len(theirs) - len(new) - duplicates, sequence)
    _write_result(db, user_id, source, merged)
    return merged


def _write(db: sqlite3.Connection, user_id: str, own: list[_Row], new: list[_Row], events_kept: int) -> int:
    """Write the merged log. Returns its newest sequence."""
    found = db.execute("SELECT sequence, trimmed FROM users WHERE user_id = ?", (user_id,))
    sequence, trimmed = found.fetchone() or (0, 0)
    rows = sorted([*own, *new], key=lambda row: row.timestamp)
    # From the first displaced event on, events get new sequences (decision 0050).
    unmoved = next((n for n, (row, mine) in enumerate(zip(rows, own, strict=False)) if row is not mine), len(own))
    numbers = count(sequence + 1)
    rows[unmoved:] = [_Row(next(numbers), *row[1:]) for row in rows[unmoved:]]
    rows = _with_ascending_arrivals(rows)
    removed = max(0, len(rows) - events_kept)
    if removed:
        trimmed = rows[removed - 1].sequence
    sequence += len(rows) - unmoved
    last = rows[unmoved - 1].sequence if unmoved else 0
    db.execute("DELETE FROM events WHERE user_id = ? AND (sequence > ? OR sequence <= ?)", (user_id, last, trimmed))
    db.executemany(
        "UPDATE events SET arrived = ? WHERE user_id = ? AND sequence = ?",
        [(row.arrived, user_id, row.sequence) for row in rows[removed:unmoved]],
    )
    db.executemany(
        f"INSERT INTO events (user_id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our columns
        [(user_id, *row) for row in rows[max(removed, unmoved) :]],
    )
    db.execute("DELETE FROM snapshots WHERE user_id = ?", (user_id,))
    db.execute("INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?)", (user_id, secrets.token_hex(8), sequence, trimmed))
    count_deletion(db)
    return int(sequence)


def _with_ascending_arrivals(rows: list[_Row]) -> list[_Row]:
    """Limit each arrival time to those of the events behind it.

    So retention by age removes the oldest events first.
    """
    ordered = rows[-1:]
    for row in reversed(rows[:-1]):
        latest = ordered[-1].arrived
        ordered.append(row if row.arrived <= latest else row._replace(arrived=latest))
    return ordered[::-1]


def _rows(db: sqlite3.Connection, user_id: str) -> list[_Row]:
    query = f"SELECT {_COLUMNS} FROM events WHERE user_id = ? ORDER BY sequence"  # noqa: S608 - our columns
    found = db.execute(query, (user_id,))
    return [_Row(*row) for row in found]


def _write_result(db: sqlite3.Connection, user_id: str, source: str, merged: Merged) -> None:
    """Keep the result of the merge for a repeated request."""
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
