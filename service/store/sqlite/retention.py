"""Removal of events and users.

Each function runs within the caller's transaction.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from service.core.events import DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Retention:
    """Limits of a user's log.

    events_kept  number of events, the newest ones.
    days_kept    days to keep an event after its arrival; None for no limit.
    """

    events_kept: int
    days_kept: int | None

    def trim(self, db: sqlite3.Connection, user_id: str, sequence: int, trimmed: int) -> int:
        """Remove the events beyond the limits after an append.

        `sequence` is the user's newest sequence, and `trimmed` the newest one that retention removed before.
        Returns the new `trimmed`.
        """
        last = max(trimmed, self._last_surplus(db, user_id, sequence, trimmed), self._last_expired(db, user_id))
        if last > trimmed:
            db.execute("DELETE FROM events WHERE user_id = ? AND sequence <= ?", (user_id, last))
        return last

    def expire(self, db: sqlite3.Connection, user_id: str) -> int:
        """Remove the expired events, and the user if none is left.

        Returns the number of events removed.
        """
        last = self._last_expired(db, user_id)
        removed = db.execute("DELETE FROM events WHERE user_id = ? AND sequence <= ?", (user_id, last)).rowcount
        if removed:
            db.execute("UPDATE users SET trimmed = ? WHERE user_id = ?", (last, user_id))
        if not db.execute("SELECT 1 FROM events WHERE user_id = ? LIMIT 1", (user_id,)).fetchone():
            remove_user(db, user_id)
        return removed

    def _last_surplus(self, db: sqlite3.Connection, user_id: str, sequence: int, trimmed: int) -> int:
        """Return the newest sequence beyond the newest `events_kept`, else 0."""
        if sequence - trimmed <= self.events_kept:
            return 0
        found = db.execute(
            "SELECT sequence FROM events WHERE user_id = ? ORDER BY sequence DESC LIMIT 1 OFFSET ?",
            (user_id, self.events_kept),
        ).fetchone()
        return found[0] if found else 0  # None: deleted events left gaps

    def _last_expired(self, db: sqlite3.Connection, user_id: str) -> int:
        """Return the newest sequence of the expired events, else 0."""
        if self.days_kept is None:
            return 0
        rows = db.execute("SELECT sequence, arrived FROM events WHERE user_id = ? ORDER BY sequence", (user_id,))
        limit, last = time.time() - self.days_kept * DAY_SECONDS, 0
        for sequence, arrived in rows:
            if arrived >= limit:  # and so have all after it: arrivals ascend along a log
                break
            last = sequence
        return last


def remove_user(db: sqlite3.Connection, user_id: str) -> int:
    """Delete everything about the user. Returns the number of events deleted."""
    if db.execute("DELETE FROM users WHERE user_id = ?", (user_id,)).rowcount:
        # An export may still hold events that retention removed here, so a user without events counts too.
        count_deletion(db)
    db.execute("DELETE FROM snapshots WHERE user_id = ?", (user_id,))
    db.execute("DELETE FROM merges WHERE user_id = ?", (user_id,))
    return db.execute("DELETE FROM events WHERE user_id = ?", (user_id,)).rowcount


def count_deletion(db: sqlite3.Connection) -> None:
    """Tell exports to read the log again."""
    db.execute("INSERT INTO deletions VALUES (1, 1) ON CONFLICT DO UPDATE SET count = count + 1")
