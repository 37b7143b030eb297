"""CPU engine: compiled kernels over a bundle's arrays, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np

from model.bundle.bundle import Bundle, Item
from model.compiled.array_types import F32, I64
from model.config import ModelConfig
from service.core.engine_requests import AllowedRows, EngineRequest, TopK
from service.engine.appended_items import AppendedItems
from service.engine.cpu import replay_kernels
from service.engine.cpu.cpu_search import CpuSearch
from service.engine.cpu.weights import KernelWeights, kernel_weights
from service.engine.engine import BundleEngine
from service.engine.search.filtered_ivf import SCANNED_SHARE
from service.engine.search.ivf_pq import MIN_INDEXED_ITEMS, IvfPqIndex
from service.engine.state_codec import StateBatch, StateCodec, join_states, split_states

# Queries on which an index's recall@10 is measured: 2,560 results, so 0.99 is known to +- 0.004.
_RECALL_SAMPLES = 256

# Estimated seconds on a core of 2024, for `cost`.
_REQUEST_SECONDS = 7e-6
_EVENT_SECONDS = 10e-6
_RESULT_ITEM_SECONDS = 1e-6
_INDEX_SEARCH_SECONDS = 6e-4
_SCANNED_ITEM_SECONDS = 6e-9
_READ_ROW_SECONDS = 4e-8  # of a row by itself
_BITMAP_ROW_SECONDS = 2e-11


class CpuEngine(BundleEngine):
    """A loaded model; see core.ports.Engine."""

    def __init__(
        self,
        bundle: Bundle,
        seen_limit: int,
        min_recall: float = 0.99,
        min_indexed_items: int = MIN_INDEXED_ITEMS,
    ) -> None:
        """Prepare the weights and, for a large catalogue, the search index.

        Args:
            bundle: the verified model.
            seen_limit: how many of a user's last items a state keeps for `exclude_seen`; at least K - 1 are kept,
                because the first layer's conv inputs are recomputed from them.
            min_recall: recall@10 below which the index is not used.
            min_indexed_items: size of the catalogue from which an index is built.
        """
        weights, config = kernel_weights(bundle), bundle.config
        recurrence = CpuRecurrence(config, weights, max(seen_limit, config.conv_width - 1))
        index = None
        if config.items >= min_indexed_items:
            samples = _sample_outputs(recurrence, bundle.items)
            index = IvfPqIndex.build(weights.embedding, samples, min_recall)
        super().__init__(bundle, recurrence, CpuSearch(weights.embedding, index))
        self._indexed = index is not None
        self._search_seconds = _INDEX_SEARCH_SECONDS if index else _SCANNED_ITEM_SECONDS * config.items

    def cost(self, requests: Sequence[EngineRequest]) -> float:
        """Estimate the seconds that `run` would take; see core.ports.Engine."""
        seconds = _REQUEST_SECONDS * len(requests) + _EVENT_SECONDS * sum(
            [len(request.items) for request in requests]
        )
        for request in requests:
            if request.evaluated:
                seconds += (self._search_seconds + _REQUEST_SECONDS) * len(request.evaluated)
            if isinstance(query := request.query, TopK):
                seconds += _RESULT_ITEM_SECONDS * query.k
                seconds += self._search_seconds if query.allowed is None else self._filtered_seconds(query.allowed)
            elif query is not None:
                seconds += _RESULT_ITEM_SECONDS * len(query.candidates)
        return seconds

    def _filtered_seconds(self, allowed: AllowedRows) -> float:
        """Estimate the seconds of a search under a filter."""
        items = self._bundle.config.items + self.extended
        if self._indexed and allowed.count > SCANNED_SHARE * items:
            return self._search_seconds + _SCANNED_ITEM_SECONDS * self.extended
        read = min(_READ_ROW_SECONDS * allowed.count, _SCANNED_ITEM_SECONDS * items)
        return _REQUEST_SECONDS + _BITMAP_ROW_SECONDS * items + read


class CpuRecurrence:
    """Recurrence of one model; see `interfaces.Recurrence`.

    A state keeps at most `max_rows` rows.
    """

    def __init__(self, config: ModelConfig, weights: KernelWeights, max_rows: int) -> None:
        w = self._weights = weights
        self.codec = StateCodec(config, w.initial_h.shape[1], max_rows)
        h, conv = w.initial_h[None].copy(), w.initial_conv[None].copy()
        output = np.zeros((1, w.norm.shape[1]), np.float32)
        if config.start_token:
            row, owner = np.zeros(1, np.int64), np.zeros(1, np.int64)
            nothing = w.embedding[:0]
            replay_kernels.advance(
                w.embedding, nothing, w.types, w.norm, w.layers, w.offsets, w.widths, row, owner, h, conv, output
            )
        self._initial_conv = np.ascontiguousarray(conv[0, 0])
        self.initial_state = self.codec.pack_initial(h, conv, output)

    def replay(
        self,
        states: StateBatch,
        selected: Sequence[int],
        events: Sequence[Sequence[int] | I64],
        appended: AppendedItems,
    ) -> list[bytes]:
        """Advance some states by their events; see `interfaces.Recurrence`."""
        w, codec, which = self._weights, self.codec, np.array(selected, np.int64)
        event_starts = np.array([0, *accumulate(map(len, events))])
        codes = np.fromiter(chain.from_iterable(events), np.int64, int(event_starts[-1]))
        words, starts = replay_kernels.replay(
            w.embedding, appended.vectors, w.types, w.norm, w.layers, w.offsets, w.widths, self._initial_conv,
            codec.layout_words, codec.max_rows, *states, which, codes, event_starts,
        )  # fmt: skip
        return split_states(words, starts)

    def recurrent_values(self, state: bytes, appended: AppendedItems) -> F32:
        """Return all recurrent numbers of a valid state.

        The first layer's conv inputs, which are not stored, are recomputed.
        """
        w = self._weights
        h, conv, recent = self.codec.unpack(join_states([state]), np.zeros(1, np.int64), self._initial_conv)
        replay_kernels.recompute_conv_inputs(
            w.embedding, appended.vectors, w.types, w.norm, w.layers, w.widths, recent, conv
        )
        return np.concatenate([h.ravel(), conv.ravel()])


def _sample_outputs(recurrence: CpuRecurrence, items: Sequence[Item]) -> F32:
    """Return outputs (S, D) after synthetic histories.

    The histories have 1 to 16 items, sampled by popularity.
    """
    rng = np.random.default_rng(0)
    edges = np.cumsum(np.array([item.popularity for item in items], np.float64) + 1)
    rows = [
        1 + np.searchsorted(edges, rng.uniform(0, edges[-1], 1 + n % 16), "right") for n in range(_RECALL_SAMPLES)
    ]
    batch = join_states([recurrence.initial_state] * _RECALL_SAMPLES)
    nothing = AppendedItems.none(len(items), recurrence.codec.layout.dim)
    states = recurrence.replay(batch, range(_RECALL_SAMPLES), rows, nothing)
    return np.stack([recurrence.codec.layout.output(state) for state in states])
