"""Exact search under filters against a plain float64 reference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.compiled.array_types import F32
from service.core.engine_requests import AllowedRows
from service.engine.appended_items import AppendedItems
from service.engine.cpu.cpu_search import CpuSearch
from service.engine.cuda.cuda_search import CudaSearch
from service.engine.search.exact_top_k import exact_target_ranks, exact_top_k
from service.engine.search.top_k_queries import TopKQueries, TopKResult

Bools = NDArray[np.bool_]
Search = Callable[[F32, TopKQueries], TopKResult]

SEARCHES: list[Search] = [exact_top_k, lambda table, queries: CudaSearch(torch.from_numpy(table)).top_k(queries)]


def search_in_parts(table: F32, queries: TopKQueries) -> TopKResult:
    """Search the second half of the rows as appended ones."""
    trained = len(table) // 2
    appended = AppendedItems.none(trained, table.shape[1])
    appended = appended.append([(str(row), table[row]) for row in range(trained + 1, len(table))])
    chosen = queries.chosen.tolist() if queries.filters else [-1] * len(queries.k)
    everything = [queries.filters[number] if number >= 0 else appended.everything for number in chosen]
    plain = queries.unfiltered()
    excluded = [rows.tolist() for rows in plain.excluded_rows()]
    vectors, k = plain.vectors, int(plain.k.max(initial=0))
    asked = TopKQueries.without_exclusions(vectors, k).restricted(everything, excluded)
    return CpuSearch(table[: trained + 1], None).top_k(asked, appended)


def whole_numbers(rows: int, dim: int, seed: int) -> F32:
    """Vectors whose products float32 holds exactly, with many equal scores."""
    return np.random.default_rng(seed).integers(-3, 4, (rows, dim)).astype(np.float32)


def random_filter(rows: int, share: float, seed: int) -> Bools:
    allowed: Bools = np.random.default_rng(seed).random(rows) < share
    allowed[0] = False
    return allowed


def reference(table: F32, vector: F32, k: int, allowed: Bools, excluded: list[int]) -> list[int]:
    """Sort all allowed rows in float64."""
    scores = table.astype(np.float64) @ vector.astype(np.float64)
    left = [row for row in np.flatnonzero(allowed).tolist() if row > 0 and row not in set(excluded)]
    return sorted(left, key=lambda row: (-scores[row], row))[:k]


def found_rows(result: TopKResult, q: int) -> list[int]:
    rows: list[int] = result.rows[q, : result.lengths[q]].tolist()
    return rows


@pytest.mark.parametrize("search", [*SEARCHES, search_in_parts])
@given(
    rows=st.integers(2, 1200),
    dim=st.integers(1, 5),
    shares=st.lists(st.sampled_from([None, 0.0, 0.002, 0.05, 0.2, 0.3, 0.9, 0.997, 1.0]), min_size=1, max_size=9),
    k=st.sampled_from([0, 1, 3, 10, 2000]),
    excluded=st.lists(st.integers(1, 1199), max_size=40),
    seed=st.integers(0, 1000),
)
@settings(max_examples=120, deadline=None)
def test_result_is_the_head_of_a_sort_of_the_allowed_rows(
    search: Search, rows: int, dim: int, shares: list[float | None], k: int, excluded: list[int], seed: int
) -> None:
    table, vectors = whole_numbers(rows, dim, seed), whole_numbers(len(shares), dim, seed + 1)
    masks = [np.ones(rows, np.bool_) if share is None else random_filter(rows, share, seed) for share in shares]
    filters = [None if share is None else AllowedRows.of(mask) for share, mask in zip(shares, masks, strict=True)]
    left_out = [[row for row in excluded if row < rows] if q % 2 else [] for q in range(len(shares))]
    result = search(table, TopKQueries.without_exclusions(vectors, k).restricted(filters, left_out))
    for q, (mask, excluding) in enumerate(zip(masks, left_out, strict=True)):
        wanted = reference(table, vectors[q], k, mask, excluding)
        assert found_rows(result, q) == wanted
        assert result.scores[q, : len(wanted)].tolist() == (table[wanted] @ vectors[q]).tolist()


@pytest.mark.parametrize("search", SEARCHES)
def test_bits_of_row_0_and_beyond_the_table_are_ignored(search: Search) -> None:
    table, queries = whole_numbers(40, 2, 0), TopKQueries.without_exclusions(np.array([[3, 1]], np.float32), 100)
    for words in (2, 3, 200):  # of a model to which items were appended
        everything = AllowedRows(np.full(words, 0xFFFFFFFF, np.uint32), 39)
        filtered = search(table, queries.restricted([everything], [[]]))
        assert found_rows(filtered, 0) == found_rows(search(table, queries), 0)
        assert filtered.lengths[0] == 39


@pytest.mark.parametrize("search", SEARCHES)
def test_filter_of_another_catalogue_is_refused(search: Search) -> None:
    table, queries = whole_numbers(40, 2, 0), TopKQueries.without_exclusions(np.ones((1, 2), np.float32), 3)
    for rows in (1, 32):
        other = AllowedRows.of(np.ones(rows, np.bool_))
        with pytest.raises(ValueError, match="not for 39 items"):
            search(table, queries.restricted([other], [[]]))


def test_scale_applies_under_a_filter() -> None:
    table, scale = np.ones((5, 2), np.float32), np.array([0, 1, 5, 3, 2], np.float32)
    allowed = AllowedRows.of(np.array([False, True, False, True, True]))
    queries = TopKQueries.without_exclusions(np.ones((1, 2), np.float32), 3).restricted([allowed], [[]])
    result = exact_top_k(table, queries, scale)
    assert result.rows.tolist() == [[3, 4, 1]]
    assert result.scores.tolist() == [[6, 4, 2]]


def test_target_ranks_ignore_filters() -> None:
    table = whole_numbers(200, 2, 3)
    queries = TopKQueries.without_exclusions(table[5:9], 10)
    filtered = queries.restricted([AllowedRows.of(random_filter(200, 0.1, seed)) for seed in range(4)], [[]] * 4)
    targets = np.array([3, 50, 199, 7])
    nothing = table[:0]
    for ranks in (
        lambda t, q, rows: exact_target_ranks(t, nothing, q, rows),
        lambda t, q, rows: CudaSearch(torch.from_numpy(t)).target_ranks(q, rows),
    ):
        wanted, found = ranks(table, queries, targets), ranks(table, filtered, targets)
        assert wanted.among_all.tolist() == found.among_all.tolist()
        assert wanted.among_unseen.tolist() == found.among_unseen.tolist()


@given(st.integers(1, 300), st.floats(0, 1), st.integers(0, 100))
@settings(deadline=None)
def test_allowed_rows_of_a_mask_give_the_mask_back(rows: int, share: float, seed: int) -> None:
    mask = random_filter(rows, share, seed)
    allowed = AllowedRows.of(mask)
    assert allowed.count == mask.sum()
    assert allowed.mask(rows).tolist() == mask.tolist()
    assert allowed.contains(np.arange(rows)).tolist() == mask.tolist()


def test_bitmaps_that_would_be_compiled_anew_are_refused() -> None:
    words = np.zeros(4, np.uint32)
    frozen = words.copy()
    frozen.flags.writeable = False
    for wrong in (frozen, words[::2], words.astype(np.int64), words[None]):
        with pytest.raises(ValueError, match="contiguous array"):
            AllowedRows(wrong, 0)
