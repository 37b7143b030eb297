"""A batch of packed states, folded on the CPU: what stands between an engine and the kernels of `fold`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np
from numpy.typing import NDArray

from model.config import ModelConfig
from model.state_layout import F32
from service.engine.cpu import kernels
from service.engine.cpu.weights import Parameters
from service.engine.state_codec import Batch, StateCodec, join
from service.engine.state_codec_kernels import Index


class CpuRecurrence:
    """Folds items into packed states of one model. `kept`: how many rows a state remembers at most."""

    def __init__(self, config: ModelConfig, parameters: Parameters, kept: int) -> None:
        self._parameters = parameters
        self._codec = StateCodec(config, parameters.widths, kept)
        self.floats = self._codec.floats
        self._begin, self.new_history = self._first(config.start_token)

    def sound(self, states: Batch) -> NDArray[np.bool_]:
        """Which states can have come from a fold."""
        return self._codec.sound(states)

    def fold(self, states: Batch, picked: Sequence[int], rows: Sequence[Sequence[int] | Index]) -> list[bytes]:
        """The picked states, which must be sound, after their items' rows: at least one each."""
        p, which = self._parameters, np.array(picked, np.int64)
        new_starts = np.array([0, *accumulate(map(len, rows))])
        new_rows = np.fromiter(chain.from_iterable(rows), np.int64, int(new_starts[-1]))
        owners, starts = self._codec.plan(states, which, new_starts)
        h, conv = self._unpack(states, which)
        output = np.empty((len(which), p.norm.shape[1]), np.float32)
        kernels.advance(p.embedding, p.norm, p.layers, p.offsets, p.widths, new_rows, owners, h, conv, output)
        return self._codec.pack(states, which, new_rows, new_starts, starts, h, conv, output)

    def recurrent(self, state: bytes) -> F32:
        """Every number of a sound state's recurrence, the first layer's conv inputs computed."""
        h, conv = self._unpack(join([state]), np.zeros(1, np.int64))
        return np.concatenate([h.ravel(), conv.ravel()])

    def _unpack(self, states: Batch, which: Index) -> tuple[F32, F32]:
        p = self._parameters
        h, conv, recent = self._codec.unpack(states, which, self._begin)
        kernels.replay(p.embedding, p.norm, p.layers, p.widths, recent, conv)
        return h, conv

    def _first(self, start_token: bool) -> tuple[F32, bytes]:
        """A history without items: the first layer's conv inputs, which it does not pack, and the packed state."""
        p = self._parameters
        h, conv = p.initial_h[None].copy(), p.initial_conv[None].copy()
        output = np.zeros((1, p.norm.shape[1]), np.float32)
        nobody = np.zeros(1, np.int64)
        if start_token:
            kernels.advance(p.embedding, p.norm, p.layers, p.offsets, p.widths, nobody, nobody, h, conv, output)
        return np.ascontiguousarray(conv[0, 0]), self._codec.pack_new(h, conv, output)
