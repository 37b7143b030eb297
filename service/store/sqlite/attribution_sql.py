"""Table and SQL of the counters of attribution.

Each function runs within the caller's transaction.
"""

from __future__ import annotations

import sqlite3

from service.core.attribution.credits import USER_SHARDS, additions, shard_of

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


def read_counters(db: sqlite3.Connection) -> list[dict[str, int]]:
    """See `CounterStore.attribution_counters`."""
    shards: list[dict[str, int]] = [{} for _ in range(USER_SHARDS)]
    for shard, name, amount in db.execute("SELECT shard, name, amount FROM attribution"):
        shards[shard][name] = int(amount)
    return shards
