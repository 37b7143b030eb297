"""Best of the rows that an index proposes, also under filters that allow many rows.

A filter of a share of the rows needs as many times more proposals. Their bits are tested before they are scored, so
deeper proposals cost little. All queries of a batch that need about as many are searched together, whatever their
filters, because the index is faster for several queries.

What matters is the share of the proposals that a filter allows. Users like or dislike what it allows, so that share
is learnt for each filter. A query with too few allowed proposals is searched again, deeper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from model.compiled.array_types import F32, I64
from service.core.engine_requests import AllowedRows, Lineage
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.gathered.gathered_cache import MAX_ROWS
from service.engine.search.proposals.list_index import ListIndex
from service.engine.search.rescoring import keep_allowed, rescore
from service.engine.search.top_k_queries import TopKQueries, TopKResult

# Candidates: this many per wanted item plus a constant, because four bits order items roughly, plus one for each
# excluded item, and some for each expected item that a filter forbids.
_CANDIDATES_PER_ITEM, _EXTRA_CANDIDATES, _CANDIDATES_PER_FORBIDDEN = 4, 160, 8
# With more candidates than this other ways are as fast.
_MAX_CANDIDATES, _MAX_FILTERED_CANDIDATES = 4096, 8192
_RECALL_K = 10
_PROBES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_DEEP_PROBES = (*_PROBES, 768, 1024)
# A query's class is how many times deeper it must go: up to 1.25, 2.5, … times. Filters that allow nearly all rows
# are in the class of no filter.
_DEPTHS = (1.25, 2.5, 5.5, 11.0, 22.0, 44.0, 88.0)
# Filters that allow less of all rows are searched otherwise.
COMMON_SHARE = 1 / _DEPTHS[-2]
# Users dislike what a filter allows if it allows less than this part of its share among their proposals. The best of
# it may then be in lists that are far away. If its rows can be gathered, that finds them; else the query goes twice
# as deep.
_DISLIKED = 0.75
# Proposals are enough if they have this part of the allowed rows that were expected.
_ENOUGH = 0.75
# How fast a filter's share of the proposals is learnt.
_DOWN, _UP = 0.5, 0.05
# Queries of a filter that skip proposals before they are tried again.
_SKIPPED = 512
# Estimated seconds on a core of 2024: of a query, of each row that is looked at, and of each candidate.
_QUERY_SECONDS, _ROW_SECONDS, _CANDIDATE_SECONDS = 1e-4, 1.9e-9, 2e-8

F64 = NDArray[np.float64]


@dataclass(slots=True)
class _Taste:
    """What users think of a filter.

    Attributes:
        share: Share of the proposals that it allows.
        skipped: Queries that were not tried, because the share is too low.
    """

    share: float
    skipped: int = 0

    def note(self, shares: F64) -> None:
        """Learn the shares of some queries; the worst count most."""
        for share in (float(shares.min()), float(shares.mean())):
            self.share += (_DOWN if share < self.share else _UP) * (share - self.share)


class ProposedRows:
    """Search of the rows that an index proposes.

    Safe to share between threads.

    Attributes:
        recall: Recall@10 that was measured without filters.
    """

    def __init__(self, table: F32, index: ListIndex, probes: Sequence[int], recall: float) -> None:
        """Use `probes` of each class of queries."""
        self._table, self._index, self._probes, self.recall = table, index, probes, recall
        self._tastes: WeakKeyDictionary[Lineage, _Taste] = WeakKeyDictionary()

    @classmethod
    def build(cls, table: F32, index: ListIndex, samples: F32, min_recall: float) -> ProposedRows:
        """Choose the fewest probes that reach the recall, for each class.

        Under a filter that allows one row in n, the best ten are among the best 10 n of all. If not even the most
        probes are enough for a class, it has those.
        """
        items = len(table) - 1
        depths = [_RECALL_K, *(round(_RECALL_K * depth) for depth in _DEPTHS[1:])]
        expected = exact_top_k(table, TopKQueries.without_exclusions(samples, depths[-1]))
        probes: list[int] = []
        recalls: list[float] = []
        for depth in depths:
            queries = TopKQueries.without_exclusions(samples, min(depth, items))
            count = int(_candidates(np.array([_RECALL_K]), np.array([_RECALL_K / depth]))[0])
            for tried in [n for n in (_DEEP_PROBES if probes else _PROBES) if not probes or n >= probes[-1]]:
                found, _, _ = cls(table, index, (), 0.0)._search(queries, tried, count)
                recall = _recall(found, expected, min(depth, items))
                if recall >= min_recall or tried >= index.list_count:
                    break
            probes.append(tried)
            recalls.append(recall)
            if recalls[0] < min_recall:
                break
        return cls(table, index, probes, recalls[0])

    def top_k(self, queries: TopKQueries) -> tuple[TopKResult, I64]:
        """Return the best proposed rows, and the queries for which the proposals may not be enough."""
        counts = queries.excluded_end - queries.excluded_start
        most = int(counts.max(initial=0)) + _CANDIDATES_PER_ITEM * int(queries.k.max(initial=0)) + _EXTRA_CANDIDATES
        if not queries.filters and most <= _MAX_CANDIDATES:
            result, is_answered, _ = self._search(queries, self._probes[0], most)
            return result, np.flatnonzero(~is_answered)
        items = len(self._table) - 1
        result, shares = TopKResult.allocate(queries, items), np.ones(len(queries.k))
        allowed_rows, limits = np.full(len(queries.k), items), np.full(len(queries.k), _MAX_CANDIDATES)
        for own, allowed in _by_filter(queries):
            shares[own], allowed_rows[own] = self._expected_share(allowed, len(own)), allowed.count
            limits[own] = _MAX_FILTERED_CANDIDATES
        is_answered = np.zeros(len(queries.k), np.bool_)
        for number, depth in enumerate(_DEPTHS):
            wanted = _candidates(queries.k, shares)
            is_due = ~is_answered & (shares * depth >= 1) & (counts + wanted <= limits)
            selected = np.flatnonzero(is_due)
            if selected.size:
                part, most = queries.take(selected), int((counts + wanted)[selected].max())
                found, is_complete, proposed_shares = self._search(part, self._probes[number], most)
                asked = np.maximum(1, most - counts[selected])
                enough = proposed_shares >= _ENOUGH * shares[selected] * wanted[selected] / asked
                result.put(selected, found)
                is_answered[selected] = is_complete & enough
                shares[selected] = _careful(proposed_shares, allowed_rows[selected], items).clip(0, 0.99 / depth)
        return result, np.flatnonzero(~is_answered)

    def seconds(self, allowed: AllowedRows) -> float:
        """Return about how long a core needs for a query under a filter."""
        share = max(self._expected_share(allowed, 0), 1 / _DEPTHS[-1])
        number = next(number for number, depth in enumerate(_DEPTHS) if share * depth >= 1)
        rows = (len(self._table) - 1) * min(1.0, self._probes[number] / self._index.list_count)
        candidates = int(_candidates(np.array([_RECALL_K]), np.array([share]))[0])
        return _QUERY_SECONDS + _ROW_SECONDS * rows + _CANDIDATE_SECONDS * candidates

    def _expected_share(self, allowed: AllowedRows, queries: int) -> float:
        """Return which share of the proposals a filter will allow."""
        of_all = allowed.count / (len(self._table) - 1)
        taste = self._tastes.get(allowed.lineage)
        if taste is None:
            taste = self._tastes[allowed.lineage] = _Taste(of_all)
        share = float(_careful(np.array(taste.share), np.array(allowed.count), len(self._table) - 1))
        if share * _DEPTHS[-1] < 1:
            taste.skipped += queries
            if taste.skipped > _SKIPPED:
                taste.share, taste.skipped = of_all, 0
        return share

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
            self._tastes[allowed.lineage].note(shares[own])
        rescore(self._table, queries.vectors, queries.k, *without, candidates, *result)
        return result, result.lengths == np.minimum(queries.k, items), shares


def _by_filter(queries: TopKQueries) -> list[tuple[I64, AllowedRows]]:
    """Return the queries of each filter."""
    chosen = [(np.flatnonzero(queries.chosen == n), allowed) for n, allowed in enumerate(queries.filters)]
    return [(own, allowed) for own, allowed in chosen if own.size]


def _careful(shares: F64, allowed_rows: I64, items: int) -> F64:
    """Return the share to reckon with, if a filter allows `shares` of the proposals; 0 if others must search."""
    if_disliked = np.where(allowed_rows <= MAX_ROWS, 0.0, shares / 2)
    return np.where(shares * items < _DISLIKED * allowed_rows, if_disliked, shares)


def _candidates(k: I64, shares: F64) -> I64:
    """Return how many candidates queries need, if a share of them is allowed."""
    forbidden = _CANDIDATES_PER_FORBIDDEN * k * (1 / np.maximum(shares, 0.5 / _DEPTHS[-1]) - 1)
    return (_CANDIDATES_PER_ITEM * k + _EXTRA_CANDIDATES + np.ceil(forbidden)).astype(np.int64)


def _recall(found: TopKResult, expected: TopKResult, depth: int) -> float:
    """Return the fraction of results that score as high as the best `depth`.

    Items with equal scores are interchangeable.
    """
    last = expected.scores[:, depth - 1 : depth]
    return float(np.mean(found.scores >= last - 1e-5 * np.abs(last)))
