"""Search of the rows that an index proposes.

It also serves filters that allow many rows. A filter that allows a tenth of the rows needs ten times as many
proposals. The filter is tested before a row is scored, so more proposals cost little. All queries of a batch that
need about as many are searched together, whatever their filters, because the index is faster for several queries.

A filter may allow a larger part of the proposals than of all rows, or a smaller one: users like or dislike what it
allows. So that part is learnt for each filter. A query with too few allowed proposals is searched again, deeper.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from model.compiled.array_types import F32, I64
from service.core.engine_requests import AllowedRows, Lineage
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.proposals.list_index import ListIndex
from service.engine.search.rescoring import keep_allowed, rescore
from service.engine.search.top_k_queries import TopKQueries, TopKResult

# Candidates: this many per wanted item plus a constant, because four bits order items roughly, plus one for each
# excluded item, and some for each expected item that a filter forbids.
_CANDIDATES_PER_ITEM, _EXTRA_CANDIDATES, _CANDIDATES_PER_FORBIDDEN = 4, 160, 8
# The constant grows with the rows that a filter forbids, down to this share of allowed ones.
_MOST_EXTRA_SHARE = 0.5
# With more candidates than this other ways are as fast.
_MAX_CANDIDATES, _MAX_FILTERED_CANDIDATES = 4096, 8192
_RECALL_K = 10
# Under filters the aim is above the least allowed recall, by this part of the distance to 1.
_SPARE_RECALL = 0.3
# Queries on which the recall of deeper classes is measured: each has 26 results at least.
_DEEP_SAMPLES = 64
_PROBES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_DEEP_PROBES = (*_PROBES, 768, 1024)
# A query's class is how many times deeper it must go: up to 1.25, 2.6, … times. Filters that allow nearly all rows
# are in the class of no filter.
_DEPTHS = (1.25, 2.6, 6.0, 13.0, 26.0, 52.0, 104.0)
_LEAST_SHARES = 1 / np.array(_DEPTHS)
_ANSWERED = len(_DEPTHS) + 1  # instead of an index of them
# Filters that allow less of all rows are searched otherwise.
COMMON_SHARE = 1 / _DEPTHS[-2]
# Users dislike what a filter allows if it is rarer among their proposals than among all rows, by this factor. The
# best of it may then be in lists that are far away, so the proposals are not used.
_DISLIKED = 0.75
# Proposals are enough if they have this part of the allowed rows that were expected.
_ENOUGH = 0.75
# How fast a filter's share of the proposals is learnt.
_DOWN, _UP = 0.5, 0.05
# Queries of a filter that skip proposals before they are tried again.
_SKIPPED = 512

F64 = NDArray[np.float64]


@dataclass(slots=True)
class _Taste:
    """Share of the proposals that a filter allows.

    Attributes:
        share: The share, as learnt from the queries.
        skipped: Queries that were not tried, because the share is too low.
    """

    share: float
    skipped: int = 0

    def learn(self, shares: F64) -> None:
        """Learn the shares of some queries; the worst count most."""
        for share in (float(shares.min()), float(shares.mean())) if len(shares) > 1 else shares.tolist():
            self.share += (_DOWN if share < self.share else _UP) * (share - self.share)


class ProposedRows:
    """Search of the rows that an index proposes.

    Safe to share between threads.

    Attributes:
        recall: Recall@10 that was measured without filters.
    """

    def __init__(
        self,
        table: F32,
        index: ListIndex,
        probes: Sequence[int] = (),
        seconds: Sequence[float] = (),
        recall: float = 0.0,
    ) -> None:
        """Use the probes of each class of queries.

        `seconds` is how long a query of each class takes on a core.
        """
        self._table, self._index = table, index
        self._probes, self._seconds, self.recall = probes, seconds, recall
        self._tastes: WeakKeyDictionary[Lineage, _Taste] = WeakKeyDictionary()

    @classmethod
    def build(cls, table: F32, index: ListIndex, samples: F32, min_recall: float) -> ProposedRows:
        """Choose the fewest probes that reach the recall, for each class.

        Under a filter that allows one row in n, the best ten are among the best 10 n of all. If not even the most
        probes are enough for a class, it has those.
        """
        items, untuned = len(table) - 1, cls(table, index)
        depths = [_RECALL_K, *(round(_RECALL_K * depth) for depth in _DEPTHS[1:])]
        few = samples[:_DEEP_SAMPLES]
        best = exact_top_k(table, TopKQueries.without_exclusions(samples, depths[0]))
        deep = exact_top_k(table, TopKQueries.without_exclusions(few, depths[-1]))
        untuned._search(TopKQueries.without_exclusions(samples[:1], 1), _PROBES[0], 1)  # compiles the kernels
        probes, seconds, recalls = [_PROBES[0]], list[float](), list[float]()
        for depth in depths:
            used, expected = (few, deep) if seconds else (samples, best)
            queries = TopKQueries.without_exclusions(used, min(depth, items))
            count = int(_candidates(np.array([_RECALL_K]), np.array([_RECALL_K / depth]))[0])
            wanted = min_recall + _SPARE_RECALL * (1 - min_recall) * (depth > _RECALL_K)
            for tried in [n for n in (_DEEP_PROBES if seconds else _PROBES) if n >= probes[-1]]:
                started = time.thread_time()
                found, _, _ = untuned._search(queries, tried, count)
                spent = time.thread_time() - started
                recall = _recall(found, expected, min(depth, items))
                if recall >= wanted or tried >= index.list_count:
                    break
            probes, seconds, recalls = [*probes, tried], [*seconds, spent / len(used)], [*recalls, recall]
            if recalls[0] < min_recall:
                break
        return cls(table, index, probes[1:], seconds, recalls[0])

    def top_k(self, queries: TopKQueries) -> tuple[TopKResult, I64]:
        """Return the best proposed rows, and the unanswered queries.

        The proposals may not be enough for those.
        """
        counts = queries.excluded_end - queries.excluded_start
        most = int(counts.max(initial=0)) + _CANDIDATES_PER_ITEM * int(queries.k.max(initial=0)) + _EXTRA_CANDIDATES
        if not queries.filters and most <= _MAX_CANDIDATES:
            result, is_complete, _ = self._search(queries, self._probes[0], most)
            return result, np.flatnonzero(~is_complete)
        result, shares = TopKResult.allocate(queries, len(self._table) - 1), np.ones(len(queries.k))
        for own, allowed in _by_filter(queries):
            shares[own] = self._expected_share(allowed, len(own))
        depths = _depths(shares)
        wanted = counts + _candidates(queries.k, shares)
        depths[wanted > _MAX_FILTERED_CANDIDATES] = len(_DEPTHS)
        while (depth := int(depths.min(initial=len(_DEPTHS)))) < len(_DEPTHS):
            selected = np.flatnonzero(depths == depth)
            part = queries if len(selected) == len(depths) else queries.take(selected)
            most = int(wanted[selected].max())
            found, is_complete, proposed_shares = self._search(part, self._probes[depth], most)
            expected = _ENOUGH * shares[selected] * (wanted - counts)[selected] / (most - counts[selected])
            failed = np.flatnonzero(~is_complete | (proposed_shares < expected))
            result.put(selected, found)
            depths[selected] = _ANSWERED
            if failed.size:
                again, shares[selected] = selected[failed], self._liked_shares(part, proposed_shares)
                wanted[again] = counts[again] + _candidates(queries.k[again], shares[again])
                depths[again] = np.maximum(depth + 1, _depths(shares[again]))
                depths[wanted > _MAX_FILTERED_CANDIDATES] = len(_DEPTHS)
        return result, np.flatnonzero(depths == len(_DEPTHS))

    def seconds(self, allowed: AllowedRows) -> float:
        """Return the seconds of a query under a filter."""
        share = max(self._expected_share(allowed, 0), COMMON_SHARE)
        return self._seconds[min(int(_depths(np.array([share]))[0]), len(self._seconds) - 1)]

    def _expected_share(self, allowed: AllowedRows, queries: int) -> float:
        """Return which share of the proposals a filter will allow.

        It is 0 if another way must search.
        """
        of_all = allowed.count / (len(self._table) - 1)
        taste = self._tastes.get(allowed.lineage)
        if taste is None:
            taste = self._tastes[allowed.lineage] = _Taste(of_all)
        if taste.share >= max(_DISLIKED * of_all, float(_LEAST_SHARES[-1])):
            return taste.share
        taste.skipped += queries
        if taste.skipped > _SKIPPED:
            taste.share, taste.skipped = of_all, 0
        return 0.0

    def _liked_shares(self, queries: TopKQueries, shares: F64) -> F64:
        """Return the shares (Q,), with 0 for filters that the users dislike."""
        found = np.zeros(len(shares))
        for own, allowed in _by_filter(queries):
            is_liked = shares[own] >= _DISLIKED * allowed.count / (len(self._table) - 1)
            found[own] = np.where(is_liked, shares[own], 0.0)
        return found

    def _search(self, queries: TopKQueries, probes: int, count: int) -> tuple[TopKResult, NDArray[np.bool_], F64]:
        """Return the best of `count` proposals of each part.

        Returns also whether all wanted rows were found (Q,), and the share of the lists' proposals that are allowed.
        """
        items = len(self._table) - 1
        result, without, shares = TopKResult.allocate(queries, items), queries[2:5], np.ones(len(queries.k))
        if not result.rows.shape[1]:
            return result, np.ones(len(queries.k), np.bool_), shares
        count, excluded = min(count, items), queries.excluded_end - queries.excluded_start
        candidates, found = self._index.propose(queries.vectors, count, probes), np.zeros(len(queries.k), np.int64)
        for own, allowed in _by_filter(queries):
            most = _CANDIDATES_PER_ITEM * queries.k + _EXTRA_CANDIDATES
            keep_allowed(allowed.bitmap, own, candidates, count, most, *without, found)
            shares[own] = (found[own] / np.maximum(1, count - excluded[own])).clip(0, 1)
            self._tastes[allowed.lineage].learn(shares[own])
        rescore(self._table, queries.vectors, queries.k, *without, candidates, *result)
        return result, result.lengths == np.minimum(queries.k, items), shares


def _by_filter(queries: TopKQueries) -> list[tuple[I64, AllowedRows]]:
    """Return the queries of each filter."""
    chosen = [(np.flatnonzero(queries.chosen == n), allowed) for n, allowed in enumerate(queries.filters)]
    return [(own, allowed) for own, allowed in chosen if own.size]


def _depths(shares: F64) -> I64:
    """Return the class of each share.

    It is the number of classes if the share is too small.
    """
    found: I64 = (shares[:, None] < _LEAST_SHARES).sum(axis=1)
    return found


def _candidates(k: I64, shares: F64) -> I64:
    """Return how many candidates queries need.

    A share of them will be allowed.
    """
    forbidden = _CANDIDATES_PER_FORBIDDEN * k * (1 / np.maximum(shares, 0.5 / _DEPTHS[-1]) - 1)
    some = (_CANDIDATES_PER_ITEM * k + _EXTRA_CANDIDATES) / np.maximum(shares, _MOST_EXTRA_SHARE)
    return np.ceil(some + forbidden).astype(np.int64)


def _recall(found: TopKResult, expected: TopKResult, depth: int) -> float:
    """Return the share of results that are among the best `depth`.

    Items with equal scores are interchangeable.
    """
    last = expected.scores[:, depth - 1 : depth]
    return float(np.mean(found.scores >= last - 1e-5 * np.abs(last)))
