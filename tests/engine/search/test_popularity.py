"""Order by popularity under filters and exclusions."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.engine_requests import AllowedRows
from service.engine.search.popularity import PopularityOrder


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=120),
    st.none() | st.floats(0, 1),
    st.lists(st.integers(1, 200), max_size=30),
    st.integers(0, 50),
    st.integers(0, 9),
)
@settings(deadline=None)
def test_rows_are_the_most_popular_of_those_left(
    popularity: list[int], share: float | None, excluded: list[int], k: int, seed: int
) -> None:
    order, mask = PopularityOrder(np.array(popularity, np.float32)), np.ones(len(popularity) + 1, np.bool_)
    if share is not None:
        mask = np.random.default_rng(seed).random(len(popularity) + 1) < share
    rows, found = order.top_k(k, None if share is None else AllowedRows.of(mask), excluded)
    left = [row for row in range(1, len(popularity) + 1) if mask[row] and row not in excluded]
    assert rows.tolist() == sorted(left, key=lambda row: (-popularity[row - 1], row))[:k]
    assert found.tolist() == [popularity[row - 1] for row in rows]


def test_rank_is_the_position_in_the_order() -> None:
    order = PopularityOrder(np.array([1, 5, 5, 0], np.float32))
    assert [order.rank(row) for row in (1, 2, 3, 4)] == [3, 1, 2, 4]
