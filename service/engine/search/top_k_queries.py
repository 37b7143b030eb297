"""Arguments and results of a search, the same for every backend.

Axes: Q queries, D model width, V items of the catalogue (embedding row 0 is not an item).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from model.compiled.array_types import F32, I64, U32
from service.core.engine_requests import AllowedRows

_NO_FILTER = np.empty(0, np.int64)

# Fields of `TopKQueries` and `TopKResult` as plain tuples, for kernels: numba takes longer to recognise a named one.
QueryArrays = tuple[F32, I64, U32, I64, I64]
ResultArrays = tuple[I64, F32, I64]


class TopKQueries(NamedTuple):
    """Top-k queries, each with the rows that it excludes and allows.

    vectors         (Q, D)
    k               (Q,) how many rows each query asks for
    excluded        rows of all queries, end to end; query q excludes excluded[excluded_start[q] : excluded_end[q]]
    excluded_start  (Q,)
    excluded_end    (Q,)
    filters         rows that queries allow; none: every query allows all trained rows
    chosen          (Q,) index of each query's filter, -1 allows all trained rows; empty without filters
    """

    vectors: F32
    k: I64
    excluded: U32
    excluded_start: I64
    excluded_end: I64
    filters: tuple[AllowedRows, ...] = ()
    chosen: I64 = _NO_FILTER

    def take(self, selected: I64) -> TopKQueries:
        """Return some of the queries."""
        return self._replace(
            vectors=self.vectors[selected],
            k=self.k[selected],
            excluded_start=self.excluded_start[selected],
            excluded_end=self.excluded_end[selected],
            chosen=self.chosen[selected] if self.filters else self.chosen,
        )

    def unfiltered(self) -> TopKQueries:
        """Return the same queries without filters."""
        return self._replace(filters=(), chosen=_NO_FILTER)

    def for_trained(self, items: int) -> TopKQueries:
        """Return the queries without filters that allow rows 1 to `items`."""
        needed = [allowed.full < items for allowed in self.filters]
        if all(needed):
            return self
        chosen = np.where(np.array([*needed, False])[self.chosen], self.chosen, -1)
        return self._replace(chosen=chosen) if any(needed) else self.unfiltered()

    def restricted(self, allowed: Sequence[AllowedRows | None], excluded: Sequence[Sequence[int]]) -> TopKQueries:
        """Return the queries with filters (None: all rows) and exclusions."""
        filters = {id(rows): rows for rows in allowed if rows is not None}
        numbers = {key: number for number, key in enumerate(filters)}
        chosen = np.array([numbers.get(id(rows), -1) for rows in allowed], np.int64)
        parts, starts, ends = [self.excluded], self.excluded_start.copy(), self.excluded_end.copy()
        length = len(self.excluded)
        for q, more in enumerate(excluded):
            if more:
                before = self.excluded[starts[q] : ends[q]]
                parts += [before, np.array(more, np.uint32)]
                starts[q], ends[q] = length, length + len(before) + len(more)
                length = int(ends[q])
        return self._replace(
            excluded=np.concatenate(parts) if len(parts) > 1 else self.excluded,
            excluded_start=starts,
            excluded_end=ends,
            filters=tuple(filters.values()),
            chosen=chosen if filters else _NO_FILTER,
        )

    def excluded_rows(self) -> list[U32]:
        """Return the excluded rows of each query."""
        return [self.excluded[start:end] for start, end in zip(self.excluded_start, self.excluded_end, strict=True)]

    @classmethod
    def without_exclusions(cls, vectors: F32, k: int) -> TopKQueries:
        """Return queries that ask for the same `k` and exclude nothing."""
        nothing = np.zeros(len(vectors), np.int64)
        return cls(vectors, np.full(len(vectors), k), np.empty(0, np.uint32), nothing, nothing)


class TopKResult(NamedTuple):
    """Best rows of each query, best first.

    Equal scores are in order of row.

    rows     (Q, K), where K is the largest k
    scores   (Q, K) float32
    lengths  (Q,) how many entries of each line are valid
    """

    rows: I64
    scores: F32
    lengths: I64

    def put(self, selected: I64, part: TopKResult) -> None:
        """Replace the results of some queries."""
        width = part.rows.shape[1]
        self.rows[selected, :width], self.scores[selected, :width] = part.rows, part.scores
        self.lengths[selected] = part.lengths

    @classmethod
    def allocate(cls, queries: TopKQueries, items: int) -> TopKResult:
        """Return an empty result for a catalogue of `items` items."""
        shape = (len(queries.k), min(int(queries.k.max(initial=0)), items))
        return cls(np.empty(shape, np.int64), np.full(shape, -np.inf, np.float32), np.zeros(shape[0], np.int64))


class TargetRanks(NamedTuple):
    """Rank of one target row per query; 1 is the best.

    among_all       among all rows
    among_unseen    among the rows that the query does not exclude; 0 if it excludes the target

    Both are 0 if the rank is beyond the depth that an index searches.
    """

    among_all: I64
    among_unseen: I64

    @classmethod
    def allocate(cls, queries: int) -> TargetRanks:
        """Return uninitialised ranks."""
        return cls(np.empty(queries, np.int64), np.empty(queries, np.int64))


def top_k_by_filter(
    queries: TopKQueries,
    items: int,
    unfiltered: Callable[[TopKQueries], TopKResult],
    filtered: Callable[[TopKQueries, AllowedRows], TopKResult],
    appended: int = 0,
) -> TopKResult:
    """Search the queries of each filter together.

    Args:
        queries: queries with at least one filter.
        items: trained items.
        unfiltered: searches queries without a filter.
        filtered: searches queries of one filter.
        appended: rows after the trained ones, which `filtered` finds too.

    Raises:
        ValueError: a filter is not for a catalogue of this size.
    """
    if len(queries.filters) == 1 and not queries.chosen.any():  # all queries have the only filter
        check_filter(queries.filters[0], items)
        return filtered(queries.unfiltered(), queries.filters[0])
    result = TopKResult.allocate(queries, items + appended)
    for number in range(-1, len(queries.filters)):
        selected = np.flatnonzero(queries.chosen == number)
        if selected.size:
            part = queries.take(selected).unfiltered()
            if number < 0:
                result.put(selected, unfiltered(part))
            else:
                check_filter(queries.filters[number], items)
                result.put(selected, filtered(part, queries.filters[number]))
    return result


def check_filter(allowed: AllowedRows, items: int) -> None:
    """Raise `ValueError` if the filter is of another catalogue."""
    if len(allowed.bitmap) < items // 32 + 1:  # a longer one has appended rows
        raise ValueError(f"a filter of {len(allowed.bitmap)} words is not for {items} items")
