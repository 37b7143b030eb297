"""The CPU engine: compiled kernels over a bundle's arrays, without torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.bundle.bundle import Bundle, Item
from model.state_layout import F32
from service.core.engine_requests import EngineRequest, TopK
from service.engine.cpu.recurrence import CpuRecurrence
from service.engine.cpu.weights import prepare
from service.engine.engine import BundleEngine
from service.engine.search.exact import Best, Queries, TargetRanks, exact, ranks
from service.engine.search.ivf_pq import LARGE, ApproximateIndex
from service.engine.state_codec import join
from service.engine.state_codec_kernels import Index

# Outputs on which an index's recall is measured: 2,560 places in answers, so 0.99 is known to +- 0.004.
_SAMPLES = 256

# Seconds on a core of 2024, for `cost`: a turn, an event folded, an answered or ranked item, a search in an index,
# and an item of the catalogue in an exact one.
_TURN, _EVENT, _ANSWERED, _SEARCH, _SCANNED = 7e-6, 10e-6, 1e-6, 6e-4, 6e-9


class CpuEngine(BundleEngine):
    """A loaded model; see core.ports.Engine.

    A user's state remembers the last `seen_limit` known items: they are what `exclude_seen` leaves out. It keeps no
    fewer than the K - 1 from which the first layer's conv inputs are computed.
    """

    def __init__(self, bundle: Bundle, seen_limit: int, min_recall: float = 0.99, large: int = LARGE) -> None:
        parameters, config = prepare(bundle), bundle.config
        folder = CpuRecurrence(config, parameters, max(seen_limit, config.conv_width - 1))
        index = None
        if config.items >= large:
            outputs = _sample_outputs(folder, bundle.items, config.dim)
            index = ApproximateIndex.build(parameters.embedding, outputs, min_recall)
        super().__init__(bundle, folder, CpuSearch(parameters.embedding, index))
        self._search_seconds = _SEARCH if index else _SCANNED * config.items

    def cost(self, requests: Sequence[EngineRequest]) -> float:
        """About how many seconds `run` would take; see core.ports.Engine."""
        seconds = _TURN * len(requests) + _EVENT * sum([len(request.items) for request in requests])
        for request in requests:
            if request.evaluated:
                seconds += (self._search_seconds + _TURN) * len(request.evaluated)
            if isinstance(request.query, TopK):
                seconds += self._search_seconds + _ANSWERED * request.query.k
            elif request.query is not None:
                seconds += _ANSWERED * len(request.query.candidates)
        return seconds


class CpuSearch:
    """Exact search of a table (V + 1, D), and a large table's index where it has one; see `parts.Search`."""

    def __init__(self, table: F32, index: ApproximateIndex | None) -> None:
        self._table, self._index = table, index
        norms = np.linalg.norm(table, axis=1)
        self._per_norm = (1 / np.maximum(norms, np.finfo(np.float32).tiny)).astype(np.float32)

    def best(self, queries: Queries) -> Best:
        """The rows of the highest products."""
        return self._index.search(queries) if self._index else exact(self._table, queries)

    def ranks(self, queries: Queries, targets: Index) -> TargetRanks:
        """Where the targets stand."""
        return self._index.ranks(queries, targets) if self._index else ranks(self._table, queries, targets)

    def nearest(self, row: int, k: int) -> Best:
        """The rows nearest to this one by cosine, without itself."""
        direction = (self._table[row] * self._per_norm[row])[None]
        itself = np.array([row], np.uint32)
        only = Queries(direction, np.array([k]), itself, np.zeros(1, np.int64), np.ones(1, np.int64))
        return exact(self._table, only, self._per_norm)

    def scores(self, rows: Index, output: F32) -> F32:
        """The products of `output` (D,) with these rows (N,)."""
        products: F32 = self._table[rows] @ output
        return products

    def measured(self) -> dict[str, float]:
        """The index's recall."""
        return {"retrieval_recall@10": self._index.recall} if self._index else {}


def _sample_outputs(folder: CpuRecurrence, items: Sequence[Item], dim: int) -> F32:
    """What the network says after made-up histories, of items drawn by how popular they are: (S, D)."""
    rng = np.random.default_rng(0)
    edges = np.cumsum(np.array([item.popularity for item in items], np.float64) + 1)
    rows = [1 + np.searchsorted(edges, rng.uniform(0, edges[-1], 1 + n % 16), "right") for n in range(_SAMPLES)]
    states = folder.fold(join([folder.new_history] * _SAMPLES), range(_SAMPLES), rows)
    return np.stack([np.frombuffer(state, np.float32, dim) for state in states])
