"""Index under filters: no forbidden row, recall, ties and short results."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.compiled.array_types import F32
from service.core.engine_requests import AllowedRows
from service.engine.search import filtered_index, filtered_ivf
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.filtered_ivf import BoundedLists
from service.engine.search.gathered.gathered_cache import GatheredCache
from service.engine.search.gathered.gathered_rows import GatheredRows
from service.engine.search.ivf_pq import IvfPqIndex
from service.engine.search.proposals.proposed_rows import COMMON_SHARE
from service.engine.search.top_k_queries import TopKQueries
from tests.engine.search.test_ivf_pq import catalogue, rows_of

ITEMS = 12_000
SHARES = (0.9, 0.5, 0.1, 0.01, 0.001, 0.0)


@pytest.fixture(scope="module")
def built() -> tuple[IvfPqIndex, F32, F32]:
    table, queries = catalogue(ITEMS)
    table[6001:6501] = table[1:501]  # equal rows
    index = IvfPqIndex.build(table, queries[:30], 0.99)
    assert index is not None
    return index, table, queries[30:]


class Gathering(GatheredCache):
    """Gathers the rows of every filter at once."""

    def find(self, allowed: AllowedRows) -> GatheredRows | None:
        return self._gather(allowed)


@pytest.fixture(params=["exact", "scan", "lists", "gathered", "common", "measured"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, built: tuple[IvfPqIndex, F32, F32]) -> str:
    """Each way of searching for all filters, then the measured switch-over points."""
    name: str = request.param
    if name != "measured":
        monkeypatch.setattr(filtered_index, "EXACT_ROWS", ITEMS if name == "exact" else -1)
        monkeypatch.setattr(filtered_ivf, "SCANNED_SHARE", 1.0 if name == "scan" else -1.0)
        monkeypatch.setattr(filtered_index, "COMMON_SHARE", COMMON_SHARE if name == "common" else 2.0)
        monkeypatch.setattr(filtered_index, "GATHERED_ROWS", ITEMS if name == "gathered" else -1)
    if name == "gathered":
        found = built[0]._filtered
        monkeypatch.setattr(found, "_gathered", Gathering(found._gathered._gather))
    return name


def filter_of(table: F32, taste: F32 | None, share: float, seed: int = 0) -> NDArray[np.bool_]:
    """Random rows, or those of highest product with `taste`."""
    rng = np.random.default_rng(seed)
    order = rng.random(len(table)) if taste is None else -(table @ taste) / np.linalg.norm(table, axis=1)
    order[0] = np.inf
    allowed = np.zeros(len(table), np.bool_)
    allowed[np.argsort(order)[: int(share * ITEMS)]] = True
    return allowed


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("taste", [0.0, 1.0, -1.0])
def test_recall_holds_and_no_forbidden_row_is_found(
    built: tuple[IvfPqIndex, F32, F32], way: str, taste: float, share: float
) -> None:
    index, table, vectors = built
    masks = [filter_of(table, taste * vector if taste else None, share) for vector in vectors[:5]]
    filters = [AllowedRows.of(mask) for mask in masks]
    chosen = [filters[n % 5] for n in range(len(vectors))]
    queries = TopKQueries.without_exclusions(vectors, 10).restricted(chosen, [[]] * len(vectors))
    found, wanted = index.top_k(queries), exact_top_k(table, queries)
    for n, rows in enumerate(rows_of(found)):
        assert masks[n % 5][rows].all()
        assert len(set(rows)) == len(rows) == min(10, int(share * ITEMS))
        scores = found.scores[n, : len(rows)]
        assert (np.lexsort((rows, -scores)) == np.arange(len(rows))).all()
    hits = sum(len(set(a) & set(b)) for a, b in zip(rows_of(found), rows_of(wanted), strict=True))
    assert hits >= 0.985 * wanted.lengths.sum()


@given(
    share=st.sampled_from([1.0, 0.6, 0.2, 0.03, 0.002]),
    k=st.sampled_from([1, 10, 300]),
    excluded=st.lists(st.integers(1, ITEMS), max_size=30),
    excluded_best=st.integers(0, 400),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=60, deadline=None)
def test_no_excluded_or_forbidden_row_is_found_and_short_results_are_complete(
    built: tuple[IvfPqIndex, F32, F32], share: float, k: int, excluded: list[int], excluded_best: int, seed: int
) -> None:
    index, table, vectors = built
    mask = filter_of(table, None, share, seed)
    allowed, vector = AllowedRows.of(mask), vectors[seed % len(vectors)][None]
    best = exact_top_k(table, TopKQueries.without_exclusions(vector, 400).restricted([allowed], [[]]))
    gone = {*excluded, *rows_of(best)[0][:excluded_best]}
    result = index.top_k(TopKQueries.without_exclusions(vector, k).restricted([allowed], [sorted(gone)]))
    rows = set(rows_of(result)[0])
    left = set(np.flatnonzero(mask).tolist()) - gone
    assert rows <= left
    assert len(rows) == min(k, len(left))


def test_exclusion_of_all_but_a_few_rows_gives_those(built: tuple[IvfPqIndex, F32, F32], way: str) -> None:
    index, table, vectors = built
    allowed = AllowedRows.of(filter_of(table, None, 0.5))
    left = np.flatnonzero(allowed.mask(len(table)))[::700].tolist()
    gone = np.setdiff1d(np.arange(1, ITEMS + 1), left).tolist()
    queries = TopKQueries.without_exclusions(vectors[:3], 50).restricted([allowed] * 3, [gone] * 3)
    for n, rows in enumerate(rows_of(index.top_k(queries))):
        scores = table @ vectors[n]
        assert rows == sorted(left, key=lambda row: (-scores[row], row))


def test_equal_rows_are_in_order_of_row(built: tuple[IvfPqIndex, F32, F32], way: str) -> None:
    index, table, _ = built
    allowed = np.zeros(len(table), np.bool_)
    allowed[[*range(1, 501), *range(6001, 6501)]] = True
    queries = TopKQueries.without_exclusions(table[1:30], 2).restricted([AllowedRows.of(allowed)] * 29, [[]] * 29)
    for row, rows in enumerate(rows_of(index.top_k(queries)), start=1):
        assert rows[0] + 6000 == rows[1] or row not in rows


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_bounds_hold_for_queries_against_all_rows(sign: float) -> None:
    """Scores are negative with the second sign: the shortest rows win."""
    rng = np.random.default_rng(5)
    table = (np.abs(rng.standard_normal((6001, 8))) + 0.5).astype(np.float32)
    table *= rng.lognormal(0, 0.5, (6001, 1)).astype(np.float32)
    lists = np.argmax(table @ table[1:41].T, axis=1)
    queries = sign * np.abs(rng.standard_normal((50, 8))).astype(np.float32)
    bounded = BoundedLists.build(table, lists, table[1:41], queries[:25])
    asked = TopKQueries.without_exclusions(queries[25:], 10)
    allowed = AllowedRows.of(filter_of(table, None, 0.2)[: len(table)])
    (found, _), wanted = (
        bounded.top_k(asked, allowed),
        exact_top_k(table, asked.restricted([allowed] * 25, [[]] * 25)),
    )
    hits = [len(set(a) & set(b)) / 10 for a, b in zip(rows_of(found), rows_of(wanted), strict=True)]
    assert np.mean(hits) >= 0.98
