"""Four-bit codes of rows, and how far scores are above their estimates from codes.

The codes are those of the index's lists: a dimension's number becomes one of 16 levels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.arrays import F32
from service.engine.search.exact_top_k import exact_top_k
from service.engine.search.faiss_library import import_faiss
from service.engine.search.gathered_kernels import encode_rows
from service.engine.search.queries import TopKQueries

CODE_VALUES = 16
_BITS = 4
# Share of the best rows that the margin may miss.
_MISSED = 0.001
_DEPTHS = (10, 100, 1000)
_SAMPLES = 64
# Rows on which the error of the codes is measured.
_ERROR_ROWS = 1 << 14
_TINY = np.float32(1e-30)


class RowCodes:
    """Codes of a table (V + 1, D).

    Immutable after `build`, and safe to share between threads.
    """

    def __init__(self, table: F32, levels: F32) -> None:
        """Take over the levels (D, 16) of each dimension."""
        self._faiss, self._table = import_faiss(), table
        self._levels = np.sort(levels, axis=1)
        middles = (self._levels[:, 1:] + self._levels[:, :-1]) / 2
        self._limits: F32 = np.ascontiguousarray(middles.T, np.float32)
        self._margin = np.float32(0)
        self._covariance = self._measure_covariance()

    @classmethod
    def build(cls, table: F32, levels: F32, samples: F32) -> RowCodes:
        """Measure the margin with queries (S, D)."""
        found = cls(table, levels)
        found._measure_margin(samples[:_SAMPLES])
        return found

    def index(self, rows: NDArray[np.int32]) -> Any:  # noqa: ANN401 - faiss has no types
        """Return an index of rows (N,), whose results are places in `rows`."""
        faiss, width = self._faiss, self._table.shape[1]
        faiss.omp_set_num_threads(1)  # OpenMP keeps this setting per calling thread
        plain: Any = faiss.IndexPQ(width, width, _BITS, faiss.METRIC_INNER_PRODUCT)
        faiss.copy_array_to_vector(self._levels.ravel(), plain.pq.centroids)
        faiss.copy_array_to_vector(self._encode(rows).ravel(), plain.codes)
        plain.is_trained, plain.ntotal = True, len(rows)
        return faiss.IndexPQFastScan(plain)

    def margins(self, vectors: F32) -> F32:
        """Return how much scores of queries (Q, D) may be above their estimates."""
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

    def _measure_covariance(self) -> F32:
        """Return the covariance (D, D) of what the codes leave out."""
        vectors = self._table[1 :: max(1, len(self._table) // _ERROR_ROWS)]
        codes = (vectors[:, :, None] > self._limits.T).sum(axis=2)
        rest = vectors - self._levels[np.arange(vectors.shape[1]), codes]
        covariance: F32 = (rest.T @ rest / len(rest)).astype(np.float32)
        return covariance

    def _measure_margin(self, samples: F32) -> None:
        """Set a margin that reaches nearly all best rows of some queries."""
        items = len(self._table) - 1
        depths = sorted({min(depth, items) for depth in _DEPTHS})
        best = exact_top_k(self._table, TopKQueries.without_exclusions(samples, depths[-1]))
        above = np.empty_like(best.scores)
        for n, rows in enumerate(best.rows):
            estimates, places = self.index(rows.astype(np.int32)).search(samples[n : n + 1], len(rows))
            above[n, places[0]] = best.scores[n, places[0]] - estimates[0]
        above /= self._deviations(samples)[:, None]
        self._margin = np.float32(max(np.quantile(above[:, :depth], 1 - _MISSED) for depth in depths))
