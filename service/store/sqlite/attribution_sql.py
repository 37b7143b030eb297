"""Table and SQL of the counters of attribution.

Each function runs within the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from service.core.attribution.credits import COUNTERS_ON_A_PAGE, CounterPage, additions, shard_of

# Created in files of earlier releases too, which do not know the table and leave it alone.
ATTRIBUTION_SCHEMA = """
CREATE TABLE IF NOT EXISTS attribution (
    shard INTEGER NOT NULL,
    name TEXT NOT NULL,  -- core/attribution/credits.py
    amount INTEGER NOT NULL,
    PRIMARY KEY (shard, name)
) WITHOUT ROWID
"""


def add_credit(db: sqlite3.Connection, user_id: str, credit: str, sign: int) -> None:
    """Add an event's credit to its user's shard; `sign` -1 subtracts."""
    shard = shard_of(user_id)
    db.executemany(
        "INSERT INTO attribution VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
        [(shard, name, sign * amount) for name, amount in additions(credit)],
    )


def read_counters(db: sqlite3.Connection, pages: Sequence[CounterPage]) -> list[tuple[dict[str, int], str]]:
    """See `CounterStore.attribution_counters`."""
    return [_read_page(db, page) for page in pages]


def _read_page(db: sqlite3.Connection, page: CounterPage) -> tuple[dict[str, int], str]:
    """Return a page, whose cursor is its last name."""
    sql = "SELECT name, amount FROM attribution WHERE shard = ? AND name > ? ORDER BY name LIMIT ?"
    found = dict(db.execute(sql, (*page, COUNTERS_ON_A_PAGE)))
    return found, next(reversed(found)) if len(found) == COUNTERS_ON_A_PAGE else ""
