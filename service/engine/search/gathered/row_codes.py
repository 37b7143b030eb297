"""Four-bit codes of rows, and how far they underestimate scores.

A dimension's number becomes one of 16 levels. Rows that are much longer than others have numbers beyond all levels.
They have no codes: their scores are always computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.compiled.array_types import F32, I64
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.faiss_library import import_faiss
from service.engine.search.gathered.code_levels import train_levels
from service.engine.search.gathered_kernels import encode_rows
from service.engine.search.top_k_queries import TopKQueries

_BITS = 4
# Share of the best rows that the margin may miss.
_MISSED = 0.001
_DEPTHS = (10, 100, 1000)
_SAMPLES = 64
# Rows on which levels are trained, and their error measured.
_TRAINING_ROWS = 1 << 15
_TINY = np.float32(1e-30)


class RowCodes:
    """Codes of a table (V + 1, D).

    Immutable after `build`, and safe to share between threads.

    Attributes:
        has_codes: (V + 1,) whether a row has codes.
    """

    def __init__(self, table: F32, long_rows: I64) -> None:
        """Choose the levels of each dimension."""
        self._faiss, self._table = import_faiss(), table
        self.has_codes = np.ones(len(table), np.bool_)
        self.has_codes[long_rows] = False
        rows = np.arange(1, len(table), max(1, len(table) // _TRAINING_ROWS))
        training = table[rows[self.has_codes[rows]]]
        self._levels = train_levels(training)
        middles = (self._levels[:, 1:] + self._levels[:, :-1]) / 2
        self._limits: F32 = np.ascontiguousarray(middles.T, np.float32)
        self._margin = np.float32(0)
        self._covariance = self._measure_covariance(training)

    @classmethod
    def build(cls, table: F32, long_rows: I64, samples: F32) -> RowCodes:
        """Choose the levels, and measure the margin with queries (S, D)."""
        found = cls(table, long_rows)
        found._measure_margin(samples[:_SAMPLES])
        return found

    def index(self, rows: NDArray[np.int32]) -> Any:  # noqa: ANN401 - faiss has no types
        """Return an index of rows (N,); its results are positions there."""
        faiss, width = self._faiss, self._table.shape[1]
        plain: Any = faiss.IndexPQ(width, width, _BITS, faiss.METRIC_INNER_PRODUCT)
        faiss.copy_array_to_vector(self._levels.ravel(), plain.pq.centroids)
        faiss.copy_array_to_vector(self._encode(rows).ravel(), plain.codes)
        plain.is_trained, plain.ntotal = True, len(rows)
        return faiss.IndexPQFastScan(plain)

    def search(self, index: Any, vectors: F32, count: int) -> tuple[F32, I64]:  # noqa: ANN401
        """Return the best estimates (Q, count) of an index, and their positions.

        Unused positions at the end are -1.
        """
        self._faiss.omp_set_num_threads(1)  # OpenMP keeps this setting per calling thread
        estimates, positions = index.search(vectors, count)
        return estimates, positions

    def margins(self, vectors: F32) -> F32:
        """Return bounds (Q,) of scores minus their estimates."""
        margins: F32 = self._margin * self._deviations(vectors)
        return margins

    def _encode(self, rows: NDArray[np.int32]) -> NDArray[np.uint8]:
        codes = np.empty((len(rows), -(-self._table.shape[1] // 2)), np.uint8)
        encode_rows(self._table, rows, self._limits, codes)
        return codes

    def _deviations(self, vectors: F32) -> F32:
        """Return the deviation (Q,) of scores from their estimates."""
        variance = ((vectors @ self._covariance) * vectors).sum(axis=1)
        deviations: F32 = np.sqrt(np.maximum(variance, _TINY))
        return deviations

    def _measure_covariance(self, vectors: F32) -> F32:
        """Return the covariance (D, D) of the codes' errors on vectors."""
        rest = np.empty_like(vectors)
        for d, (levels, limits) in enumerate(zip(self._levels, self._limits.T, strict=True)):
            rest[:, d] = vectors[:, d] - levels[np.searchsorted(limits, vectors[:, d])]
        covariance: F32 = (rest.T @ rest / max(1, len(rest))).astype(np.float32)
        return covariance

    def _measure_margin(self, samples: F32) -> None:
        """Set a margin that reaches nearly all best rows of some queries."""
        items = len(self._table) - 1
        depths = sorted({min(depth, items) for depth in _DEPTHS})
        best = exact_top_k(self._table, TopKQueries.without_exclusions(samples, depths[-1]))
        is_coded, above = self.has_codes[best.rows], np.zeros_like(best.scores)
        for n, rows in enumerate(best.rows):
            if (ranks := np.flatnonzero(is_coded[n])).size:
                index = self.index(rows[ranks].astype(np.int32))
                estimates, positions = self.search(index, samples[n : n + 1], len(ranks))
                above[n, ranks[positions[0]]] = best.scores[n, ranks[positions[0]]] - estimates[0]
        above /= self._deviations(samples)[:, None]
        for depth in depths:
            own = above[:, :depth][is_coded[:, :depth]]
            if own.size:
                self._margin = max(self._margin, np.float32(np.quantile(own, 1 - _MISSED)))
