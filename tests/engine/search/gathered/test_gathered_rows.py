"""Gathered rows against brute force, while their filter changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.compiled.array_types import F32
from service.core.engine_requests import AllowedRows
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.gathered import gathered_rows
from service.engine.search.gathered.gathered_rows import GatheredRows
from service.engine.search.gathered.row_codes import RowCodes
from service.engine.search.top_k_queries import TopKQueries
from tests.engine.search.test_ivf_pq import catalogue, rows_of

ITEMS = 5000
LONG_ROWS = 50
Bools = NDArray[np.bool_]


@pytest.fixture(scope="module")
def coded() -> tuple[RowCodes, F32, F32]:
    table, queries = catalogue(ITEMS)
    table[1] *= 3 / np.linalg.norm(table[1])
    table[2001:2101] = table[1]  # equal rows
    return codes_of(table, queries[:30]), table, queries[30:]


def codes_of(table: F32, samples: F32) -> RowCodes:
    order = np.argsort(-np.linalg.norm(table, axis=1))
    return RowCodes.build(table, order[:LONG_ROWS], samples)


def random_mask(share: float, seed: int) -> Bools:
    mask: Bools = np.random.default_rng(seed).random(ITEMS + 1) < share
    mask[0] = False
    return mask


@given(
    share=st.sampled_from([0.0, 0.001, 0.02, 0.3, 1.0]),
    flips=st.sampled_from([0, 1, 30, 2500]),
    k=st.sampled_from([0, 1, 10, 300]),
    excluded=st.lists(st.integers(1, ITEMS), max_size=30),
    excluded_best=st.integers(0, 300),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=80, deadline=None)
def test_results_after_changes_are_allowed_complete_and_as_good_as_exact_ones(
    coded: tuple[RowCodes, F32, F32],
    share: float,
    flips: int,
    k: int,
    excluded: list[int],
    excluded_best: int,
    seed: int,
) -> None:
    codes, table, vectors = coded
    mask = random_mask(share, seed)
    before = AllowedRows.of(mask)
    gathered = GatheredRows(table, codes, before)
    mask = mask.copy()
    mask[np.random.default_rng(seed + 1).integers(1, ITEMS + 1, flips)] ^= True
    after = AllowedRows.of(mask)
    queries = TopKQueries.without_exclusions(vectors[:3], k)
    best = exact_top_k(table, queries._replace(k=np.full(3, 300)).restricted([after] * 3, [[]] * 3))
    gone = [sorted({*excluded, *rows[:excluded_best]}) for rows in rows_of(best)]
    asked = queries.restricted([after] * 3, gone)
    result, unanswered = gathered.top_k(asked.unfiltered(), after)
    wanted = exact_top_k(table, asked)
    hits = total = 0
    for n in set(range(3)) - set(unanswered.tolist()):
        rows, expected = rows_of(result)[n], rows_of(wanted)[n]
        assert mask[rows].all()
        assert not set(rows) & set(gone[n])
        assert len(set(rows)) == len(rows) == len(expected)
        assert result.scores[n, : len(rows)] == pytest.approx(table[rows] @ vectors[n], rel=1e-4, abs=1e-5)
        assert (np.lexsort((rows, -result.scores[n, : len(rows)])) == np.arange(len(rows))).all()
        hits, total = hits + len(set(rows) & set(expected)), total + len(expected)
    assert hits >= 0.97 * total - 1
    assert not unanswered.size or k == 300 or flips == 2500


def test_recall_holds_for_other_queries_than_the_samples(coded: tuple[RowCodes, F32, F32]) -> None:
    codes, table, vectors = coded
    for sign in (1, -1):  # with the second sign the queries dislike all items that the filter allows
        taste = (table @ vectors[0]) * sign
        allowed = AllowedRows.of(taste > np.quantile(taste, 0.8))
        queries = TopKQueries.without_exclusions(vectors, 10)
        result, unanswered = GatheredRows(table, codes, allowed).top_k(queries, allowed)
        assert not unanswered.size
        wanted = exact_top_k(table, queries.restricted([allowed] * len(vectors), [[]] * len(vectors)))
        hits = [len(set(a) & set(b)) for a, b in zip(rows_of(result), rows_of(wanted), strict=True)]
        assert np.mean(hits) >= 9.9


def test_equal_rows_are_in_order_of_row_and_none_is_cut_off(coded: tuple[RowCodes, F32, F32]) -> None:
    codes, table, _ = coded
    everything = AllowedRows.of(np.ones(ITEMS + 1, np.bool_))
    queries = TopKQueries.without_exclusions(3 * table[1:2], 5)
    result, unanswered = GatheredRows(table, codes, everything).top_k(queries, everything)
    assert not unanswered.size
    assert rows_of(result)[0] == rows_of(exact_top_k(table, queries))[0]
    assert rows_of(result)[0][1:] == [1, 2001, 2002, 2003]


def test_query_whose_candidates_are_not_enough_is_left_unanswered(
    coded: tuple[RowCodes, F32, F32], monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, table, vectors = coded
    everything = AllowedRows.of(np.ones(ITEMS + 1, np.bool_))
    gathered = GatheredRows(table, codes, everything)
    monkeypatch.setattr(codes, "margins", lambda queries: np.full(len(queries), np.inf, np.float32))
    monkeypatch.setattr(gathered_rows, "_MAX_CANDIDATES", ITEMS - 1)
    assert gathered.top_k(TopKQueries.without_exclusions(vectors[:4], 10), everything)[1].tolist() == [0, 1, 2, 3]


def test_rows_are_outdated_once_a_share_of_them_has_changed(coded: tuple[RowCodes, F32, F32]) -> None:
    codes, table, _ = coded
    mask = random_mask(0.2, 1)
    gathered = GatheredRows(table, codes, AllowedRows.of(mask))
    for flips, outdated in ((0, False), (10, False), (200, True)):
        changed = mask.copy()
        changed[1 : flips + 1] ^= True
        assert gathered.is_outdated(AllowedRows.of(changed)) is outdated


def test_bytes_are_those_of_codes_rows_and_bitmap(coded: tuple[RowCodes, F32, F32]) -> None:
    codes, table, _ = coded
    mask = random_mask(0.5, 1)
    assert GatheredRows(table, codes, AllowedRows.of(mask)).nbytes >= int(mask.sum()) * (12 + 4) + ITEMS // 8
