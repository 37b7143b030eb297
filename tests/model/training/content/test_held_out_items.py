"""Holding items out of training."""

from __future__ import annotations

import numpy as np

from model.training.content.held_out_items import (
    first_items_only,
    held_out_rows,
    is_held_out,
    with_new_items_last,
)
from tests.model.training.histories import histories_of_lengths


def test_a_hash_of_the_id_decides() -> None:
    ids = [f"item {number}" for number in range(10_000)]
    share = np.mean([is_held_out(item_id, 0.1) for item_id in ids])
    assert 0.09 < share < 0.11
    assert all(is_held_out(item_id, 0.3) for item_id in ids if is_held_out(item_id, 0.1))
    assert not held_out_rows(ids, 0.1)[0]


def test_new_items_get_the_last_rows_and_events_keep_their_items() -> None:
    data = histories_of_lengths([5, 0, 9], 12)
    is_new = held_out_rows(data.item_ids, 0.4)
    moved = with_new_items_last(data, is_new)
    assert [moved.item_ids[row - 1] for row in moved.rows] == [data.item_ids[row - 1] for row in data.rows]
    known = int((~is_new[1:]).sum())
    assert {*moved.item_ids[known:]} == {data.item_ids[row - 1] for row in np.flatnonzero(is_new)}


def test_events_of_new_items_are_removed_in_order() -> None:
    data = histories_of_lengths([5, 0, 9], 12)
    known = first_items_only(data, 7)
    assert len(known.item_ids) == 7
    for user in range(3):
        own = data.rows[data.offsets[user] : data.offsets[user + 1]]
        found = known.rows[known.offsets[user] : known.offsets[user + 1]]
        assert found.tolist() == [row for row in own.tolist() if row <= 7]
