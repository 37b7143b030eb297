"""Random events, and histories built from them in memory as a reference."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from model.training.data.interactions import Interactions


def random_events(events: int, seed: int) -> pa.Table:
    """Return random events out of order, many of them at equal times."""
    rng = np.random.default_rng(seed)
    users, items = rng.zipf(1.5, events) % 40, rng.zipf(1.3, events) % 70
    return pa.table(
        {
            "user_id": [f"user {n}" for n in users],
            "item_id": [f"item {n}" for n in items],
            "timestamp": rng.integers(0, events // 3, events),
        }
    )


def histories_in_memory(events: pa.Table, item_ids: list[str] | None = None) -> dict[str, list[str]]:
    """Build the histories by sorting everything at once."""
    histories: dict[str, list[str]] = {}
    for row in sorted(events.to_pylist(), key=lambda row: row["timestamp"]):
        history = histories.setdefault(row["user_id"], [])
        if item_ids is None or row["item_id"] in item_ids:
            history.append(row["item_id"])
    return histories


def histories_by_user(data: Interactions) -> dict[str, list[str]]:
    return {
        user: [data.item_ids[row - 1] for row in data.rows[data.offsets[n] : data.offsets[n + 1]]]
        for n, user in enumerate(data.user_ids)
    }
