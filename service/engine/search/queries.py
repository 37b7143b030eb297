"""Arguments and results of a search, the same for every backend.

Axes: Q queries, D model width, V items of the catalogue (embedding row 0 is not an item).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from service.engine.arrays import F32, I64, U32


class TopKQueries(NamedTuple):
    """Top-k queries, each with the rows that it excludes.

    vectors         (Q, D)
    k               (Q,) how many rows each query asks for
    excluded        rows of all queries, end to end; query q excludes excluded[excluded_start[q] : excluded_end[q]]
    excluded_start  (Q,)
    excluded_end    (Q,)
    """

    vectors: F32
    k: I64
    excluded: U32
    excluded_start: I64
    excluded_end: I64

    def take(self, selected: I64) -> TopKQueries:
        """Return some of the queries."""
        return self._replace(
            vectors=self.vectors[selected],
            k=self.k[selected],
            excluded_start=self.excluded_start[selected],
            excluded_end=self.excluded_end[selected],
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
