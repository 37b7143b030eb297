"""What leaves the SQLite file: the oldest events, and users; each function runs within the caller's transaction."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Retention:
    """Keeps the newest `keep` events of each user, and of these, if `days` are given, those that came within them."""

    keep: int
    days: int | None

    @property
    def by_age(self) -> bool:
        """Whether there is a limit of age."""
        return self.days is not None

    def trim(self, db: sqlite3.Connection, user_id: str, sequence: int, trimmed: int) -> int:
        """Remove what the limits exclude after an append; the newest sequence that retention has removed so far."""
        last = max(trimmed, self._beyond_keep(db, user_id, sequence, trimmed), self._expired(db, user_id))
        if last > trimmed:
            db.execute("DELETE FROM events WHERE user_id = ? AND sequence <= ?", (user_id, last))
        return last

    def expire(self, db: sqlite3.Connection, user_id: str) -> int:
        """Remove what is too old, and the user if nothing is left; the number of events removed."""
        last = self._expired(db, user_id)
        removed = db.execute("DELETE FROM events WHERE user_id = ? AND sequence <= ?", (user_id, last)).rowcount
        if removed:
            db.execute("UPDATE users SET trimmed = ? WHERE user_id = ?", (last, user_id))
        if not db.execute("SELECT 1 FROM events WHERE user_id = ? LIMIT 1", (user_id,)).fetchone():
            remove_user(db, user_id)
        return removed

    def _beyond_keep(self, db: sqlite3.Connection, user_id: str, sequence: int, trimmed: int) -> int:
        """The newest sequence that is not among the newest `keep`; 0 if there are no more than these."""
        if sequence - trimmed <= self.keep:
            return 0
        found = db.execute(
            "SELECT sequence FROM events WHERE user_id = ? ORDER BY sequence DESC LIMIT 1 OFFSET ?",
            (user_id, self.keep),
        ).fetchone()
        return found[0] if found else 0  # deletions leave gaps

    def _expired(self, db: sqlite3.Connection, user_id: str) -> int:
        """The newest sequence of those at the log's head that came before the limit of age; 0 if there are none."""
        if self.days is None:
            return 0
        # Those of files from before arrivals were noted count as having come when they are said to have happened.
        rows = db.execute(
            "SELECT sequence, coalesce(arrived, timestamp) FROM events WHERE user_id = ? ORDER BY sequence",
            (user_id,),
        )
        limit, last = time.time() - self.days * DAY_SECONDS, 0
        for sequence, arrived in rows:
            if arrived >= limit:
                break
            last = sequence
        return last


def remove_user(db: sqlite3.Connection, user_id: str) -> int:
    """Remove everything about the user; the number of events removed."""
    if db.execute("DELETE FROM users WHERE user_id = ?", (user_id,)).rowcount:
        # Events that retention removed from here may stand in an export still, so a user without events counts too.
        count_deletion(db)
    db.execute("DELETE FROM memos WHERE user_id = ?", (user_id,))
    db.execute("DELETE FROM merges WHERE user_id = ?", (user_id,))
    return db.execute("DELETE FROM events WHERE user_id = ?", (user_id,)).rowcount


def count_deletion(db: sqlite3.Connection) -> None:
    """Let exports know that the log was changed other than by appending and retention."""
    db.execute("INSERT INTO deletions VALUES (1, 1) ON CONFLICT DO UPDATE SET count = count + 1")
