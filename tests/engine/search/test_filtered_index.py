"""Choice of the way to search under a filter."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from model.compiled.array_types import I64
from service.core.engine_requests import AllowedRows
from service.engine.search import filtered_index
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.filtered_index import EXACT_ROWS, FilteredIndex
from service.engine.search.filtered_ivf import BoundedLists
from service.engine.search.gathered.gathered_cache import GatheredCache
from service.engine.search.ivf_pq import IvfPqIndex
from service.engine.search.top_k_queries import TopKQueries, TopKResult
from tests.engine.search.test_ivf_pq import catalogue, rows_of

ITEMS = 12_000
TABLE, QUERIES = catalogue(ITEMS)


class Bounded:
    """Exact search that claims to take three seconds."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def top_k(self, queries: TopKQueries, allowed: AllowedRows) -> tuple[TopKResult, float]:
        self.asked.append(len(queries.k))
        return exact_top_k(TABLE, queries.restricted([allowed] * len(queries.k), [[]] * len(queries.k))), 3.0


class Gathered:
    """Cache whose rows, if any, leave some queries unanswered."""

    def __init__(self, unanswered: list[int] | None) -> None:
        self._unanswered = unanswered
        self.lost: list[tuple[int, float]] = []

    def find(self, allowed: AllowedRows) -> Gathered | None:
        return None if self._unanswered is None else self

    def spent(self, allowed: AllowedRows, queries: int, seconds: float) -> None:
        self.lost.append((queries, seconds))

    def top_k(self, queries: TopKQueries, allowed: AllowedRows) -> tuple[TopKResult, I64]:
        found = exact_top_k(TABLE, queries.restricted([allowed] * len(queries.k), [[]] * len(queries.k)))
        found.rows[self._unanswered] = 0
        return found, np.array(self._unanswered, np.int64)


def nothing(queries: TopKQueries) -> TopKResult:
    return TopKResult.allocate(queries, ITEMS)


def index_of(unanswered: list[int] | None) -> tuple[FilteredIndex, Bounded, Gathered]:
    bounded, gathered = Bounded(), Gathered(unanswered)
    return (
        FilteredIndex(TABLE, cast(BoundedLists, bounded), cast(GatheredCache, gathered)),
        bounded,
        gathered,
    )


def first_rows(count: int) -> AllowedRows:
    return AllowedRows.of((np.arange(ITEMS + 1) > 0) & (np.arange(ITEMS + 1) <= count))


def exact(queries: TopKQueries, allowed: AllowedRows) -> list[list[int]]:
    count = len(queries.k)
    return rows_of(exact_top_k(TABLE, queries.restricted([allowed] * count, [[]] * count)))


@pytest.mark.parametrize("unanswered", [[], [1], [0, 2, 3]])
def test_queries_that_gathered_rows_leave_are_searched_by_bounds(unanswered: list[int]) -> None:
    index, bounded, gathered = index_of(unanswered)
    queries, allowed = TopKQueries.without_exclusions(QUERIES[:4], 10), first_rows(9000)
    assert rows_of(index.top_k(queries, allowed, nothing)) == exact(queries, allowed)
    assert bounded.asked == ([len(unanswered)] if unanswered else [])
    assert gathered.lost == []


@pytest.mark.parametrize(("count", "way"), [(EXACT_ROWS, "exact"), (EXACT_ROWS + 1, "bounds")])
def test_few_rows_are_all_scored_and_more_are_bounded(count: int, way: str) -> None:
    index, bounded, gathered = index_of(None)
    queries, allowed = TopKQueries.without_exclusions(QUERIES[:4], 10), first_rows(count)
    assert rows_of(index.top_k(queries, allowed, nothing)) == exact(queries, allowed)
    assert bool(bounded.asked) is (way == "bounds")
    ((number, seconds),) = gathered.lost
    assert number == 4
    assert seconds == 3.0 if way == "bounds" else 0 < seconds < 0.01


def test_more_rows_than_fit_are_never_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filtered_index, "GATHERED_ROWS", 5000)
    index, bounded, gathered = index_of([])
    queries = TopKQueries.without_exclusions(QUERIES[:4], 10)
    index.top_k(queries, first_rows(5001), nothing)
    assert (bounded.asked, gathered.lost) == ([4], [])
    index.top_k(queries, first_rows(5000), nothing)
    assert bounded.asked == [4]


def test_index_gathers_a_filter_that_is_used_often_and_follows_its_changes() -> None:
    index = IvfPqIndex.build(TABLE, QUERIES[:30], 0.99)
    assert index is not None
    assert index._filtered is not None
    cache: Any = index._filtered._gathered
    rng = np.random.default_rng(0)
    mask: NDArray[np.bool_] = rng.random(ITEMS + 1) < 0.4
    mask[0] = False
    allowed = AllowedRows.of(mask)
    for round_number in range(400):
        if round_number % 4 == 3:  # items sell out, and come back
            mask = mask.copy()
            mask[rng.integers(1, ITEMS + 1, 40)] ^= True
            made = AllowedRows.of(mask)
            allowed = AllowedRows(made.bitmap, made.count, allowed.lineage)
            if round_number % 40 == 3:
                index.wait()
        queries = TopKQueries.without_exclusions(QUERIES[30:50], 10).restricted([allowed] * 20, [[]] * 20)
        for rows in rows_of(index.top_k(queries)):
            assert len(rows) == 10
            assert mask[rows].all()
        if round_number == 60:
            cache.spent(allowed, 1, 1.0)  # slow enough, whatever this machine
    index.wait()
    assert cache.find(allowed) is not None
    assert cache.nbytes > mask.sum() * 12
    wanted = rows_of(exact_top_k(TABLE, queries))
    hits = [len(set(a) & set(b)) for a, b in zip(rows_of(index.top_k(queries)), wanted, strict=True)]
    assert np.mean(hits) >= 9.9


@pytest.mark.parametrize(("count", "used"), [(2999, False), (3000, True), (12_000, True)])
def test_best_of_all_rows_are_searched_first_if_many_are_allowed(count: int, used: bool) -> None:
    asked: list[list[int]] = []

    def search(queries: TopKQueries) -> TopKResult:
        asked.append(queries.k.tolist())
        return exact_top_k(TABLE, queries)

    bounded, gathered = Bounded(), Gathered(None)
    index = FilteredIndex(TABLE, cast(BoundedLists, bounded), cast(GatheredCache, gathered))
    order = np.random.default_rng(0).permutation(ITEMS)
    mask = np.zeros(ITEMS + 1, np.bool_)
    mask[1 + order[:count]] = True
    allowed, queries = AllowedRows.of(mask), TopKQueries.without_exclusions(QUERIES[:4], 10)
    queries = queries._replace(k=np.array([10, 0, 3, 10]))
    assert rows_of(index.top_k(queries, allowed, search)) == exact(queries, allowed)
    assert bool(asked) is used
    assert bool(bounded.asked) is not used
    if used:
        assert asked == [[3 * k * ITEMS // count + 20 for k in (10, 0, 3, 10)]]


def test_queries_without_enough_allowed_rows_among_the_best_are_searched_otherwise() -> None:
    bounded, gathered = Bounded(), Gathered(None)
    index = FilteredIndex(TABLE, cast(BoundedLists, bounded), cast(GatheredCache, gathered))
    allowed = AllowedRows.of(TABLE @ QUERIES[0] < np.median(TABLE @ QUERIES[0]))
    queries = TopKQueries.without_exclusions(QUERIES[:2], 10)
    assert rows_of(index.top_k(queries, allowed, lambda asked: exact_top_k(TABLE, asked))) == exact(queries, allowed)
    assert bounded.asked[0] >= 1
