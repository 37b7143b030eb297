"""SQL of the event log and the snapshots.

The tables are in `schema`, the SQL of retention in `retention`, that of merges in `user_merge`. Each
function runs within the caller's transaction.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence

from service.core.events import (
    RESERVED_EVENT_ID,
    AppendAndRead,
    Appended,
    Conflict,
    Event,
    History,
    LogView,
    NewEvent,
    SnapshotPut,
)
from service.core.new_items.vector_mark import SNAPSHOT_HEADER_BYTES, is_better
from service.store.sqlite.attribution_sql import add_credit
from service.store.sqlite.retention import Retention, count_deletion

_Row = tuple[int, str, float, str | None, str | None, float | None, str | None]
_EVENTS = "SELECT sequence, item_id, timestamp, event_id, type, value, recommendation_id FROM events "


def append_and_read_all(
    db: sqlite3.Connection, requests: Sequence[AppendAndRead], retention: Retention
) -> list[LogView]:
    """See `Store.append_and_read`."""
    return [append_and_read(db, request, retention) for request in requests]


def append_and_read(db: sqlite3.Connection, request: AppendAndRead, retention: Retention) -> LogView:
    """Append one user's events, then read what a replay needs."""
    user_id = request.user_id
    known = db.execute("SELECT generation, sequence, trimmed FROM users WHERE user_id = ?", (user_id,))
    generation, before, trimmed = known.fetchone() or ("", 0, 0)
    sequence, outcomes = _append(db, user_id, before, request.events)
    if sequence > before:
        generation = generation or secrets.token_hex(8)
        trimmed = retention.trim(db, user_id, sequence, trimmed)
        db.execute("INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?)", (user_id, generation, sequence, trimmed))
    snapshot, applied = None, 0
    if request.model_version is not None:
        stored = db.execute(
            # A snapshot beyond the log as it was, or from before what retention removed, belongs to another history.
            "SELECT blob, applied FROM snapshots WHERE user_id = ? AND model_version = ? AND applied BETWEEN ? AND ?",
            (user_id, request.model_version, trimmed, before),
        )
        snapshot, applied = stored.fetchone() or (None, 0)
    rows = db.execute(_EVENTS + "WHERE user_id = ? AND sequence > ? ORDER BY sequence", (user_id, applied))
    typed = db.execute("SELECT min(sequence) FROM events WHERE user_id = ? AND type IS NOT NULL", (user_id,))
    return LogView(
        generation, sequence, trimmed, snapshot, _events(rows), outcomes, typed_from=typed.fetchone()[0] or 0
    )


def _append(
    db: sqlite3.Connection, user_id: str, sequence: int, events: Sequence[NewEvent]
) -> tuple[int, tuple[Appended | Conflict, ...]]:
    """Append the new events after `sequence`.

    Returns the newest sequence and an outcome for each event.
    """
    outcomes: list[Appended | Conflict] = []
    now = time.time()
    for event in events:
        if event.event_id is not None:
            first = db.execute(
                "SELECT sequence, fingerprint FROM events WHERE user_id = ? AND event_id = ?",
                (user_id, event.event_id),
            ).fetchone()
            if first is not None:
                same = first[1] == event.fingerprint
                outcomes.append(Appended(first[0], True) if same else Conflict(first[0]))
                continue
        sequence += 1
        db.execute(
            "INSERT INTO events (user_id, sequence, item_id, timestamp, event_id, fingerprint, arrived,"
            " type, value, recommendation_id, credit) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(user_id, sequence, event.item_id, event.timestamp, event.event_id, event.fingerprint, now),
                *(event.type or None, event.value, event.recommendation_id or None, event.credit or None),
            ),
        )
        if event.credit:
            add_credit(db, user_id, event.credit, 1)
        outcomes.append(Appended(sequence, False))
    return sequence, tuple(outcomes)


def put_snapshots(db: sqlite3.Connection, puts: Sequence[SnapshotPut]) -> list[bool]:
    """See `Store.put_snapshots`."""
    return [_put_snapshot(db, put) for put in puts]


def _put_snapshot(db: sqlite3.Connection, put: SnapshotPut) -> bool:
    found = db.execute(
        "SELECT u.generation, u.sequence, s.applied, substr(s.blob, 1, ?) FROM users u LEFT JOIN snapshots s"
        " ON s.user_id = u.user_id AND s.model_version = ? WHERE u.user_id = ?",
        (SNAPSHOT_HEADER_BYTES, put.model_version, put.user_id),
    ).fetchone()
    if found is None:
        return False
    generation, sequence, stored, header = found
    if generation != put.generation or put.applied > sequence:
        return False
    # A stored snapshot beyond the log counts as absent; otherwise it would block all valid snapshots.
    if (
        stored is not None
        and stored <= sequence
        and not (put.repair or is_better(put.blob, put.applied, header, stored))
    ):
        return False
    db.execute(
        "INSERT INTO snapshots (user_id, model_version, applied, blob) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (user_id, model_version) DO UPDATE SET applied = excluded.applied, blob = excluded.blob",
        (put.user_id, put.model_version, put.applied, put.blob),
    )
    if stored is None:
        db.execute(
            "DELETE FROM snapshots WHERE user_id = ? AND first_write NOT IN"
            " (SELECT first_write FROM snapshots WHERE user_id = ? ORDER BY first_write DESC LIMIT 2)",
            (put.user_id, put.user_id),
        )
    return True


def history(db: sqlite3.Connection, user_id: str, before: int | None, limit: int) -> History | None:
    """See `Store.history`."""
    user = db.execute("SELECT sequence, trimmed FROM users WHERE user_id = ?", (user_id,)).fetchone()
    if user is None:
        return None
    newest, trimmed = user
    [kept] = db.execute("SELECT count(*) FROM events WHERE user_id = ?", (user_id,)).fetchone()
    rows = db.execute(
        _EVENTS + "WHERE user_id = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?",
        (user_id, newest + 1 if before is None else min(before, newest + 1), limit),
    )
    return History(newest, kept, trimmed, _events(rows)[::-1])


def delete_event(db: sqlite3.Connection, user_id: str, event_id: str) -> bool:
    """See `Store.delete_event`."""
    name: str | int = event_id
    if RESERVED_EVENT_ID.fullmatch(event_id):
        name = min(int(event_id.removeprefix("seq-")), 2**63 - 1)  # the largest integer of SQLite
        condition = "user_id = ? AND sequence = ? AND event_id IS NULL"
    else:
        condition = "user_id = ? AND event_id = ?"
    found = db.execute(f"DELETE FROM events WHERE {condition} RETURNING credit", (user_id, name)).fetchall()  # noqa: S608
    if not found:
        return False
    [(credit,)] = found
    if credit:
        add_credit(db, user_id, credit, -1)
    count_deletion(db)
    # Any snapshot may contain the event; the new generation refuses those that are being computed now.
    db.execute("DELETE FROM snapshots WHERE user_id = ?", (user_id,))
    db.execute("UPDATE users SET generation = ? WHERE user_id = ?", (secrets.token_hex(8), user_id))
    return True


def _events(rows: Iterator[_Row]) -> tuple[Event, ...]:
    return tuple(
        Event(sequence, item_id, timestamp, event_id or f"seq-{sequence}", event_type or "", value, shown or "")
        for sequence, item_id, timestamp, event_id, event_type, value, shown in rows
    )


def users(db: sqlite3.Connection, cursor: str, limit: int) -> tuple[list[str], str]:
    """See `Store.users`. A cursor is ">" and the last user seen."""
    rows = db.execute(
        "SELECT user_id FROM users WHERE ? = '' OR user_id > ? ORDER BY user_id LIMIT ?", (cursor, cursor[1:], limit)
    )
    found = [user_id for (user_id,) in rows]
    return found, f">{found[-1]}" if len(found) == limit else ""


def expire(db: sqlite3.Connection, user_ids: Sequence[str], retention: Retention) -> int:
    """See `Store.expire`."""
    return sum(retention.expire(db, user_id) for user_id in user_ids)


def records(db: sqlite3.Connection) -> dict[str, str]:
    """See `Store.records`."""
    return dict(db.execute("SELECT name, text FROM records"))


def compare_and_set(db: sqlite3.Connection, name: str, expected: str | None, text: str | None) -> bool:
    """See `Store.compare_and_set`."""
    row = db.execute("SELECT text FROM records WHERE name = ?", (name,)).fetchone()
    if (None if row is None else row[0]) != expected:
        return False
    if text is None:
        db.execute("DELETE FROM records WHERE name = ?", (name,))
    else:
        db.execute("INSERT OR REPLACE INTO records VALUES (?, ?)", (name, text))
    return True


def ping(db: sqlite3.Connection) -> None:
    """See `Store.ping`."""
    db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
