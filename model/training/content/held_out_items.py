"""Hold items out of training, to measure recommendations of new items."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.training.data.interactions import Interactions


def is_held_out(item_id: str, fraction: float) -> bool:
    """Return whether the hash of its id holds an item out."""
    digest = hashlib.blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") < fraction * 2.0**64


def held_out_rows(item_ids: Sequence[str], fraction: float) -> NDArray[np.bool_]:
    """Mark the held-out rows (V + 1,); row 0 is no item."""
    return np.array([False, *(is_held_out(item_id, fraction) for item_id in item_ids)])


def with_new_items_last(data: Interactions, is_new: NDArray[np.bool_]) -> Interactions:
    """Renumber the items so that new ones have the last rows.

    Both parts keep their order.
    """
    order = np.concatenate([np.flatnonzero(~is_new), np.flatnonzero(is_new)])
    row_of = np.empty(len(order), np.int32)
    row_of[order] = np.arange(len(order), dtype=np.int32)
    item_ids = [data.item_ids[row - 1] for row in order[1:]]
    return Interactions(row_of[data.rows], data.offsets, item_ids, data.user_ids, data.newest_time)


def first_items_only(data: Interactions, count: int) -> Interactions:
    """Keep the first `count` items and their events only."""
    keep = data.rows <= count
    kept_before = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])
    return Interactions(
        data.rows[keep], kept_before[data.offsets], data.item_ids[:count], data.user_ids, data.newest_time
    )
