"""Kernels of gathered rows against numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.engine_requests import AllowedRows
from service.engine.search.gathered_kernels import changed_rows, count_allowed, encode_rows


@given(rows=st.integers(2, 500), before=st.floats(0, 1), flips=st.floats(0, 1), seed=st.integers(0, 1000))
@settings(deadline=None)
def test_changed_rows_are_those_whose_bits_differ(rows: int, before: float, flips: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    old = rng.random(rows) < before
    new = old ^ (rng.random(rows) < flips)
    old[0] = new[0] = False
    added, removed = changed_rows(AllowedRows.of(old).bitmap, AllowedRows.of(new).bitmap, rows)
    assert added.tolist() == np.flatnonzero(new & ~old).tolist()
    assert removed == np.count_nonzero(old & ~new)


def test_bits_of_row_0_and_beyond_the_table_are_no_changes() -> None:
    nothing, all_bits = np.zeros(2, np.uint32), np.full(2, 0xFFFFFFFF, np.uint32)
    added, removed = changed_rows(nothing, all_bits, 40)
    assert (added.tolist(), removed) == (list(range(1, 40)), 0)
    assert changed_rows(all_bits, nothing, 40)[1] == 39


def test_largest_number_of_allowed_exclusions_is_counted() -> None:
    allowed = AllowedRows.of(np.arange(100) % 2 == 1)
    excluded = np.array([1, 2, 3, 5, 7, 4, 6, 8, 9], np.uint32)
    assert count_allowed(allowed.bitmap, excluded, np.array([0, 3, 5]), np.array([3, 5, 9])) == 2
    assert count_allowed(allowed.bitmap, excluded, np.zeros(2, np.int64), np.zeros(2, np.int64)) == 0


@given(width=st.integers(1, 9), seed=st.integers(0, 1000))
@settings(deadline=None)
def test_codes_are_the_numbers_of_limits_below(width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((20, width)).astype(np.float32)
    limits = np.sort(rng.standard_normal((15, width)), axis=0).astype(np.float32)
    rows = rng.integers(0, 20, 6).astype(np.int32)
    codes = np.empty((6, -(-width // 2)), np.uint8)
    encode_rows(table, rows, limits, codes)
    wanted = (table[rows][:, None] > limits).sum(axis=1)
    found = np.stack([codes & 15, codes >> 4], axis=2).reshape(6, -1)[:, :width]
    assert found.tolist() == wanted.tolist()
