"""Approximate top-k for large catalogues: an inverted file proposes, the float32 table decides.

faiss keeps four bits for each number of an item, in lists by direction, and a query's products with all that these
can stand for in registers; it looks into the `probes` lists nearest to the query. Lists miss the items of the longest
vectors, whose products are high from far away, so these stand apart and every query meets all of them. What is
proposed is scored in float32: an answer's scores and order are those of the exact search, and all that can go wrong
is that an item was not proposed. How often it does is measured.
"""

from __future__ import annotations

import logging
import os
import time
from types import ModuleType
from typing import Any

import numpy as np

from model.state_layout import F32
from service.engine.search.exact import Best, Queries, TargetRanks, empty, exact
from service.engine.search.rescoring import DEEPEST, choose, place_among
from service.engine.state_codec_kernels import Index

# From here on an index is never slower than a pass over the table: 5 to 11 times faster for most users, and 1.3 times
# in batches of users of whom 1,000 items each are left out (loadtests/micro/engine.py).
LARGE = 100_000
# One item in so many stands apart. At a million items of clustered directions and log-normal lengths, recall without
# them is 0.97 at 16 probes and 0.983 at 64, and with them 1.00 at 16.
_ONE_APART_IN = 200
# How many are proposed for each that is wanted, and besides, since four bits put them in a rough order; one more for
# each that a filter may take away.
_PER_WANTED, _BESIDES = 4, 160
# What four bits tell apart, and so the fewest items they can be fitted to.
_CODES = 16
# Where more would have to be proposed, the pass over the table costs no more.
_MOST = 4096
_RECALL_AT = 10
# Every item is compared with every list's centre when an index is built: with more, ten million would start slowly.
_MOST_LISTS = 4096
_PROBES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
# Processors by OpenBLAS' names today, as the one in faiss' wheel calls what it has for them.
_BLAS_CORES = {
    "Haswell": "Haswell",
    "Zen": "Zen",
    "SkylakeX": "SkylakeX",
    "Cooperlake": "SkylakeX",
    "SapphireRapids": "SkylakeX",
}
_BLAS_VARIABLE = "OPENBLAS_CORETYPE"

_log = logging.getLogger(__name__)


class ApproximateIndex:
    """An index over a table (V + 1, D); immutable after `build`, and safe to share between threads."""

    def __init__(self, table: F32) -> None:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        faiss = _faiss()
        # A server's workers share the cores. The BLAS that came with this import has threads of its own.
        threadpool_limits(limits=1, user_api="blas")
        self._set_threads = faiss.omp_set_num_threads
        self._set_threads(1)
        self._table, self.recall = table, 0.0
        by_length = 1 + np.argsort(-np.linalg.norm(table[1:], axis=1), kind="stable")
        width, apart = table.shape[1], max(_CODES, (len(table) - 1) // _ONE_APART_IN)
        flat: Any = faiss.IndexPQFastScan(width, width, 4, faiss.METRIC_INNER_PRODUCT)
        flat.pq.cp.min_points_per_centroid = 1
        self._apart = faiss.IndexIDMap(flat)
        longest, rows = np.sort(by_length[:apart]), np.sort(by_length[apart:])
        self._apart.train(table[longest])
        self._apart.add_with_ids(table[longest], longest)
        lists = max(1, min(2 * int(np.sqrt(len(table))), _MOST_LISTS, len(rows) // 8))
        self._centres = faiss.IndexFlatIP(width)
        index: Any = faiss.IndexIVFPQFastScan(self._centres, width, lists, width, 4, faiss.METRIC_INNER_PRODUCT)
        index.by_residual = False  # so that a query's tables serve all lists
        index.cp.spherical = True
        index.cp.niter, index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = 6, 64, 1
        index.pq.cp.min_points_per_centroid = 1
        index.train(table[rows[:: max(1, len(rows) // (lists * 64))]])
        for start in range(0, len(rows), 1 << 16):  # in parts: a copy of the whole table would be large
            part = rows[start : start + (1 << 16)]
            index.add_with_ids(table[part], part)
        self._index = index

    @classmethod
    def build(cls, table: F32, samples: F32, minimum: float) -> ApproximateIndex | None:
        """The index with the fewest probes whose recall@10 on `samples` (S, D) is at least `minimum`, if one has."""
        began = time.monotonic()
        index, nothing = cls(table), np.zeros(len(samples), np.int64)
        wanted = Queries(samples, np.full(len(samples), _RECALL_AT), np.empty(0, np.uint32), nothing, nothing)
        truth = exact(table, wanted)
        for probes in _PROBES:
            index._index.nprobe = probes
            index.recall = _recall(index._propose(wanted), truth)
            if index.recall >= minimum:
                spent = time.monotonic() - began
                _log.info("indexed %d items in %.1f s: recall@10 is %.4f", len(table) - 1, spent, index.recall)
                return index
        _log.warning("recall@10 of the index is %.4f, below RECBLR_MIN_RECALL: search stays exact", index.recall)
        return None

    def search(self, queries: Queries) -> Best:
        """As `retrieval.exact`, but for what the index does not propose.

        Queries that filters leave with fewer than they want, or that want very many, are answered exactly.
        """
        best = self._propose(queries)
        short = np.flatnonzero(best.found < np.minimum(queries.counts, len(self._table) - 1))
        if short.size:
            again = exact(self._table, queries.only(short))
            width = again.rows.shape[1]
            best.rows[short, :width], best.scores[short, :width] = again.rows, again.scores
            best.found[short] = again.found
        return best

    def ranks(self, queries: Queries, targets: Index) -> TargetRanks:
        """As `retrieval.places` among what `search` finds, down to place 100: whatever is beyond has place 0.

        An item of the index that is not proposed has the place that its score would give it.
        """
        depth = np.full(len(targets), min(DEEPEST, len(self._table) - 1))
        asked = Queries(queries.vectors, depth, queries.rows, queries.begin, queries.end)
        best, found = (
            self.search(asked),
            TargetRanks(np.empty(len(targets), np.int64), np.empty(len(targets), np.int64)),
        )
        place_among(
            self._table,
            queries.vectors,
            targets,
            queries.rows,
            queries.begin,
            queries.end,
            best.rows,
            best.scores,
            best.found,
            found.among_all,
            found.among_unseen,
        )
        return found

    def _propose(self, queries: Queries) -> Best:
        """The best of what the index proposes, which may be too few; nothing where too many would be needed."""
        best = empty(queries, len(self._table) - 1)
        filtered = int((queries.end - queries.begin).max(initial=0))
        wanted = int(queries.counts.max(initial=0))
        proposed = min(_PER_WANTED * wanted + _BESIDES + filtered, len(self._table) - 1)
        if wanted and proposed <= _MOST:
            self._set_threads(1)  # OpenMP keeps this setting for each calling thread
            parts = [part.search(queries.vectors, proposed)[1] for part in (self._index, self._apart)]
            choose(
                self._table,
                queries.vectors,
                queries.counts,
                queries.rows,
                queries.begin,
                queries.end,
                np.concatenate(parts, axis=1),
                best.rows,
                best.scores,
                best.found,
            )
        return best


def _faiss() -> ModuleType:
    """The library: a large one, which only large catalogues need.

    Its wheel brings an OpenBLAS from 2021 that takes a processor it does not know for one of 2004, and then builds an
    index three times slower. numpy's own knows more of them, and is asked.
    """
    from threadpoolctl import threadpool_info

    names = (library.get("architecture") for library in threadpool_info() if library["internal_api"] == "openblas")
    core = next((_BLAS_CORES[name] for name in names if name in _BLAS_CORES), None)
    if core is None or _BLAS_VARIABLE in os.environ:
        import faiss
    else:
        os.environ[_BLAS_VARIABLE] = core  # read once, while the library is loaded
        try:
            import faiss
        finally:
            del os.environ[_BLAS_VARIABLE]
    return faiss


def _recall(found: Best, truth: Best) -> float:
    """The share of the exact answers' places that went to an item as good, which among equal ones may be another."""
    last = truth.scores[:, -1:]
    return float(np.mean(found.scores >= last - 1e-5 * np.abs(last)))
