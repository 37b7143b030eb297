"""Search of proposed rows: depth, filters of one batch, and hopeless filters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.compiled.array_types import F32, I64
from service.core.engine_requests import AllowedRows
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.proposals import proposed_rows
from service.engine.search.proposals.list_index import ListIndex
from service.engine.search.proposals.proposed_rows import ProposedRows
from service.engine.search.top_k_queries import TopKQueries
from tests.engine.search.test_ivf_pq import catalogue, rows_of

ITEMS = 12_000
TABLE, QUERIES = catalogue(ITEMS)


class CountedIndex:
    """Index that counts its calls and notes their depths."""

    def __init__(self, index: ListIndex) -> None:
        self._index = index
        self.list_count = index.list_count
        self.depths: list[int] = []

    def propose(self, vectors: F32, count: int, probes: int) -> I64:
        self.depths.append(count)
        return self._index.propose(vectors, count, probes)


@pytest.fixture(scope="module")
def index() -> ListIndex:
    return ListIndex(TABLE)


@pytest.fixture(scope="module")
def built(index: ListIndex) -> ProposedRows:
    return ProposedRows.build(TABLE, index, QUERIES[:30], 0.99)


@pytest.fixture
def counted(index: ListIndex, built: ProposedRows) -> tuple[ProposedRows, CountedIndex]:
    calls: Any = CountedIndex(index)
    return ProposedRows(TABLE, calls, built._probes, built._seconds, built.recall), calls


def random_filter(share: float, seed: int = 0) -> AllowedRows:
    return AllowedRows.of(np.random.default_rng(seed).random(ITEMS + 1) < share)


def under(filters: list[AllowedRows | None], vectors: F32 = QUERIES[30:], k: int = 10) -> TopKQueries:
    count = len(vectors)
    queries = TopKQueries.without_exclusions(vectors, k)
    return queries.restricted([filters[n % len(filters)] for n in range(count)], [[]] * count)


def test_deeper_classes_look_into_as_many_lists_or_more(built: ProposedRows) -> None:
    assert built.recall >= 0.99
    assert len(built._probes) == 7
    assert list(built._probes) == sorted(built._probes)


@pytest.mark.parametrize("share", [0.999, 0.5, 0.2, 0.07])
def test_best_allowed_rows_are_proposed(built: ProposedRows, share: float) -> None:
    filters: list[AllowedRows | None] = [random_filter(share, seed) for seed in range(5)]
    queries = under(filters)
    found, left = built.top_k(queries)
    wanted = rows_of(exact_top_k(TABLE, queries))
    hits = [len(set(a) & set(b)) for a, b in zip(rows_of(found), wanted, strict=True)]
    assert np.delete(hits, left).mean() >= 9.85
    assert left.size <= 2
    for n, rows in enumerate(rows_of(found)):
        allowed = filters[n % 5]
        assert allowed is not None and allowed.contains(np.array(rows)).all()


def test_batch_is_searched_once_for_each_depth(counted: tuple[ProposedRows, CountedIndex]) -> None:
    proposed, calls = counted
    proposed.top_k(under([None, random_filter(0.995), random_filter(0.97)]))
    assert calls.depths == [pytest.approx(209, abs=3)]
    proposed.top_k(under([None, random_filter(0.5), random_filter(0.55), random_filter(0.15)]))
    assert calls.depths[1:] == [200, pytest.approx(480, abs=12), pytest.approx(853, abs=60)]


def test_queries_with_too_few_allowed_proposals_are_left(built: ProposedRows) -> None:
    liked: NDArray[np.float32] = TABLE @ QUERIES[30]
    mask = liked < np.quantile(liked, 0.5)
    _, left = built.top_k(under([AllowedRows.of(mask), random_filter(0.5)], QUERIES[[30] * 6]))
    assert {0, 2, 4} <= set(left.tolist())


@pytest.mark.parametrize("k", [0, 3000])
def test_queries_for_nothing_and_for_too_much_need_no_proposals(
    counted: tuple[ProposedRows, CountedIndex], k: int
) -> None:
    proposed, calls = counted
    _, left = proposed.top_k(under([None, random_filter(0.5)], k=k))
    assert len(left) == (0 if k == 0 else len(QUERIES[30:]))
    assert calls.depths == []


def test_filter_whose_queries_fail_is_skipped_and_tried_again(counted: tuple[ProposedRows, CountedIndex]) -> None:
    proposed, calls = counted
    liked: NDArray[np.float32] = TABLE @ QUERIES[30]
    worst, mixed = AllowedRows.of(liked < np.quantile(liked, 0.5)), random_filter(0.5)
    queries = under([worst], QUERIES[[30] * 16])
    for _ in range(20):
        assert len(proposed.top_k(queries)[1]) == 16
    tried = len(calls.depths)
    assert tried <= 3
    assert proposed.top_k(under([mixed], QUERIES[[30] * 16]))[1].size == 0  # of another filter
    for _ in range(33):
        proposed.top_k(queries)
    assert tried + 1 < len(calls.depths) <= 2 * tried + 2


def test_filter_of_what_users_like_needs_fewer_proposals_once_that_is_learnt(
    counted: tuple[ProposedRows, CountedIndex],
) -> None:
    proposed, calls = counted
    liked: NDArray[np.float32] = TABLE @ QUERIES[30]
    queries = under([AllowedRows.of(liked > np.quantile(liked, 0.9))], QUERIES[[30] * 16])
    wanted = rows_of(exact_top_k(TABLE, queries))
    for _ in range(60):
        found, left = proposed.top_k(queries)
        assert left.size == 0
        assert rows_of(found) == wanted
    assert calls.depths[0] > 900
    assert calls.depths[-1] < 300


def test_query_with_fewer_allowed_proposals_than_were_learnt_goes_deeper(
    counted: tuple[ProposedRows, CountedIndex],
) -> None:
    proposed, calls = counted
    allowed = random_filter(0.2)
    proposed._tastes[allowed.lineage] = proposed_rows._Taste(0.9)
    queries = under([allowed], QUERIES[[30] * 2])
    found, left = proposed.top_k(queries)
    assert left.size == 0
    assert rows_of(found) == rows_of(exact_top_k(TABLE, queries))
    assert len(calls.depths) == 2
    assert calls.depths[1] > 2 * calls.depths[0]
