"""The sample of histories; tests/end_to_end runs the whole comparison."""

from __future__ import annotations

import numpy as np

from loadtests.offline_parity import sample_histories
from model.training.data.interactions import Interactions

# Users with 3, 1, 5 and 2 events of items 1 to 5.
DATA = Interactions(
    np.array([1, 2, 3, 4, 1, 2, 3, 4, 5, 2, 1]),
    np.array([0, 3, 4, 9, 11]),
    ["a", "b", "c", "d", "e"],
    ["ann", "bob", "cid", "dan"],
)


def test_sample_has_the_newest_events_of_users_with_at_least_two() -> None:
    sampled = sample_histories(DATA, users=10, last=3, seed=1)
    histories = {
        user: sampled.rows[start:stop].tolist()
        for user, start, stop in zip(sampled.user_ids, sampled.offsets[:-1], sampled.offsets[1:], strict=True)
    }
    assert histories == {"ann": [1, 2, 3], "cid": [3, 4, 5], "dan": [2, 1]}


def test_sample_of_fewer_users_is_reproducible() -> None:
    first, second = (sample_histories(DATA, users=2, last=3, seed=5) for _ in range(2))
    assert len(first.user_ids) == 2
    assert first.user_ids == second.user_ids
