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
from service.engine.search.proposals.proposed_rows import ProposedRows
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


class Proposed:
    """Exact search of all queries but `unanswered` ones."""

    def __init__(self, unanswered: list[int]) -> None:
        self._unanswered = unanswered
        self.asked: list[list[int]] = []

    def top_k(self, queries: TopKQueries) -> tuple[TopKResult, I64]:
        self.asked.append(queries.chosen.tolist())
        left = [number for number in self._unanswered if number < len(queries.k)]
        found = exact_top_k(TABLE, queries)
        found.rows[left] = 0
        return found, np.array(left, np.int64)

    def seconds(self, allowed: AllowedRows) -> float:
        return 1.0


def index_of(
    unanswered: list[int] | None, unproposed: list[int] | None = None
) -> tuple[FilteredIndex, Proposed, Bounded, Gathered]:
    """Index whose gathered rows and proposals leave queries unanswered."""
    proposed, bounded, gathered = Proposed(unproposed or []), Bounded(), Gathered(unanswered)
    parts = cast(ProposedRows, proposed), cast(BoundedLists, bounded), cast(GatheredCache, gathered)
    return FilteredIndex(TABLE, *parts), proposed, bounded, gathered


def first_rows(count: int) -> AllowedRows:
    return AllowedRows.of((np.arange(ITEMS + 1) > 0) & (np.arange(ITEMS + 1) <= count))


def under(queries: TopKQueries, *filters: AllowedRows | None) -> TopKQueries:
    """The queries, with the filters in turn."""
    count = len(queries.k)
    return queries.restricted([filters[n % len(filters)] for n in range(count)], [[]] * count)


@pytest.fixture
def without_proposals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filtered_index, "COMMON_SHARE", 2.0)


@pytest.mark.parametrize("unanswered", [[], [1], [0, 2, 3]])
@pytest.mark.usefixtures("without_proposals")
def test_queries_that_gathered_rows_leave_are_searched_by_bounds(unanswered: list[int]) -> None:
    index, proposed, bounded, _ = index_of(unanswered)
    queries = under(TopKQueries.without_exclusions(QUERIES[:4], 10), first_rows(9000))
    assert rows_of(index.top_k(queries)) == rows_of(exact_top_k(TABLE, queries))
    assert bounded.asked == ([len(unanswered)] if unanswered else [])
    assert proposed.asked == []


@pytest.mark.parametrize(("count", "way"), [(EXACT_ROWS, "exact"), (EXACT_ROWS + 1, "bounds")])
@pytest.mark.usefixtures("without_proposals")
def test_few_rows_are_all_scored_and_more_are_bounded(count: int, way: str) -> None:
    index, _, bounded, gathered = index_of(None)
    queries = under(TopKQueries.without_exclusions(QUERIES[:4], 10), first_rows(count))
    assert rows_of(index.top_k(queries)) == rows_of(exact_top_k(TABLE, queries))
    assert bool(bounded.asked) is (way == "bounds")
    ((number, seconds),) = gathered.lost
    assert number == 4
    assert seconds == 3.0 if way == "bounds" else 0 < seconds < 0.01


@pytest.mark.usefixtures("without_proposals")
def test_more_rows_than_fit_are_never_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filtered_index, "GATHERED_ROWS", 5000)
    index, _, bounded, gathered = index_of([])
    queries = TopKQueries.without_exclusions(QUERIES[:4], 10)
    index.top_k(under(queries, first_rows(5001)))
    assert (bounded.asked, gathered.lost) == ([4], [])
    index.top_k(under(queries, first_rows(5000)))
    assert bounded.asked == [4]


def test_index_gathers_a_filter_that_is_used_often_and_follows_its_changes() -> None:
    index = IvfPqIndex.build(TABLE, QUERIES[:30], 0.99)
    assert index is not None
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


@pytest.mark.parametrize(("count", "used"), [(230, False), (231, True), (12_000, True)])
def test_index_proposes_the_rows_of_filters_that_allow_many(count: int, used: bool) -> None:
    index, proposed, _, gathered = index_of(None)
    queries = under(TopKQueries.without_exclusions(QUERIES[:4], 10), first_rows(count))
    assert rows_of(index.top_k(queries)) == rows_of(exact_top_k(TABLE, queries))
    assert bool(proposed.asked) is used
    assert [seconds for _, seconds in gathered.lost] == [4.0 if used else pytest.approx(3.7e-5, rel=0.1)]


def test_queries_with_and_without_common_filters_are_searched_together() -> None:
    index, proposed, _, _ = index_of(None)
    queries = under(
        TopKQueries.without_exclusions(QUERIES[:8], 10), None, first_rows(9000), first_rows(50), first_rows(6000)
    )
    assert rows_of(index.top_k(queries)) == rows_of(exact_top_k(TABLE, queries))
    assert [sorted(chosen) for chosen in proposed.asked] == [[-1, -1, 0, 0, 2, 2]]


@pytest.mark.parametrize("unproposed", [[0], [1, 2], [0, 1, 2, 3, 4, 5]])
def test_queries_that_the_proposals_leave_are_searched_otherwise(unproposed: list[int]) -> None:
    index, _, bounded, _ = index_of(None, unproposed)
    queries = under(TopKQueries.without_exclusions(QUERIES[:6], 10), None, first_rows(9000), first_rows(6000))
    assert rows_of(index.top_k(queries)) == rows_of(exact_top_k(TABLE, queries))
    assert sum(bounded.asked) == len([number for number in unproposed if number >= 2])
