"""Replay of items onto packed states on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np

from model.config import ModelConfig
from service.engine.arrays import F32, I64
from service.engine.cpu import kernels
from service.engine.cpu.weights import KernelWeights
from service.engine.state_codec import StateBatch, StateCodec, join_states


class CpuRecurrence:
    """Recurrence of one model; see `interfaces.Recurrence`.

    A state keeps at most `max_rows` rows.
    """

    def __init__(self, config: ModelConfig, weights: KernelWeights, max_rows: int) -> None:
        self._weights = weights
        self.codec = StateCodec(config, weights.initial_h.shape[1], max_rows)
        self._initial_conv, self.initial_state = self._initial(config.start_token)

    def replay(self, states: StateBatch, selected: Sequence[int], rows: Sequence[Sequence[int] | I64]) -> list[bytes]:
        """Advance some states by the rows of their items; see `interfaces.Recurrence`."""
        w, which = self._weights, np.array(selected, np.int64)
        new_starts = np.array([0, *accumulate(map(len, rows))])
        new_rows = np.fromiter(chain.from_iterable(rows), np.int64, int(new_starts[-1]))
        owners, starts = self.codec.plan(states, which, new_starts)
        h, conv = self._unpack(states, which)
        output = np.empty((len(which), w.norm.shape[1]), np.float32)
        kernels.advance(w.embedding, w.norm, w.layers, w.offsets, w.widths, new_rows, owners, h, conv, output)
        return self.codec.pack(states, which, new_rows, new_starts, starts, h, conv, output)

    def recurrent_values(self, state: bytes) -> F32:
        """Return all recurrent numbers of a valid state.

        The first layer's conv inputs, which are not stored, are recomputed.
        """
        h, conv = self._unpack(join_states([state]), np.zeros(1, np.int64))
        return np.concatenate([h.ravel(), conv.ravel()])

    def _unpack(self, states: StateBatch, selected: I64) -> tuple[F32, F32]:
        w = self._weights
        h, conv, recent = self.codec.unpack(states, selected, self._initial_conv)
        kernels.recompute_conv_inputs(w.embedding, w.norm, w.layers, w.widths, recent, conv)
        return h, conv

    def _initial(self, start_token: bool) -> tuple[F32, bytes]:
        """Return conv inputs and packed state of a history without items.

        The conv inputs (K - 1, Hp) are those of the first layer.
        """
        w = self._weights
        h, conv = w.initial_h[None].copy(), w.initial_conv[None].copy()
        output = np.zeros((1, w.norm.shape[1]), np.float32)
        if start_token:
            row, owner = np.zeros(1, np.int64), np.zeros(1, np.int64)
            kernels.advance(w.embedding, w.norm, w.layers, w.offsets, w.widths, row, owner, h, conv, output)
        return np.ascontiguousarray(conv[0, 0]), self.codec.pack_initial(h, conv, output)
