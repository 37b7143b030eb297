"""A batch of packed states, folded by the network in PyTorch: on a GPU, or wherever its parameters are.

One event of each user is a step of the network; longer continuations go through `model.batch_states`'s parallel scan.

Axes: M users, L layers, K conv taps, D model width, H channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.batch_states import rebuild
from model.network import RecBLR
from model.state_layout import F32
from service.engine.cuda.cuda_graph import CapturedStep, replay, step
from service.engine.state_codec import Batch, StateCodec, join
from service.engine.state_codec_kernels import Index


class CudaRecurrence:
    """Folds items into packed states; see `parts.Folder`. `kept`: how many rows a state remembers at most."""

    def __init__(self, network: RecBLR, kept: int) -> None:
        config = network.config
        D, H = config.dim, config.hidden
        self._network = network
        self._device = network.initial_state.device
        self._codec = StateCodec(config, (D, H, config.conv_width, D, H, 4 * D), kept)
        self.floats = self._codec.floats
        with torch.no_grad():
            state, output = network.begin(1), network.initial_state.new_zeros(1, D)
            if config.start_token:
                output, state = network.step(torch.zeros(1, dtype=torch.int64, device=self._device), state)
        h, conv = _parts(state)
        self._begin: F32 = np.ascontiguousarray(conv[0, 0])
        self.new_history = self._codec.pack_new(h, conv, output.cpu().numpy())
        self._captured = CapturedStep(network) if self._device.type == "cuda" else None

    def sound(self, states: Batch) -> NDArray[np.bool_]:
        """Which states can have come from a fold."""
        return self._codec.sound(states)

    @torch.no_grad()
    def fold(self, states: Batch, picked: Sequence[int], rows: Sequence[Sequence[int] | Index]) -> list[bytes]:
        """The picked states, which must be sound, after their items' rows: at least one each."""
        which = np.array(picked, np.int64)
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        new_starts = np.array([0, *accumulate(counts.tolist())])
        new_rows = np.fromiter(chain.from_iterable(rows), np.int64, int(new_starts[-1]))
        _, starts = self._codec.plan(states, which, new_starts)
        state, recent = self._unpack(states, which)
        output = np.empty((len(which), self._network.config.dim), np.float32)
        single, several = np.flatnonzero(counts == 1), np.flatnonzero(counts > 1)
        if single.size:
            items = new_rows[new_starts[single]]
            state[single], output[single] = self._step(state[single], recent[single], items)
        if several.size:
            histories = [new_rows[new_starts[n] : new_starts[n + 1]] for n in several]
            state[several], output[several] = self._scan(state[several], recent[several], histories)
        h, conv = _parts(torch.from_numpy(state))
        return self._codec.pack(states, which, new_rows, new_starts, starts, h, conv, output)

    @torch.no_grad()
    def recurrent(self, state: bytes) -> F32:
        """Every number of a sound state's recurrence, the first layer's conv inputs computed."""
        unpacked, recent = self._unpack(join([state]), np.zeros(1, np.int64))
        numbers: F32 = replay(self._network, self._put(unpacked), self._put(recent)).cpu().numpy().ravel()
        return numbers

    def _unpack(self, states: Batch, which: Index) -> tuple[F32, Index]:
        """States (M, L, K, H), in which the first layer's conv inputs are still to be replayed; recent (M, K - 1)."""
        h, conv, recent = self._codec.unpack(states, which, self._begin)
        return np.concatenate([conv, h[:, :, None]], axis=2), recent

    def _step(self, state: F32, recent: Index, items: Index) -> tuple[F32, F32]:
        rows = np.concatenate([recent, items[:, None]], axis=1)
        if self._captured is not None:
            return self._captured(state, rows)
        after, output = step(self._network, self._put(state), self._put(rows))
        return after.cpu().numpy(), output.cpu().numpy()

    def _scan(self, state: F32, recent: Index, histories: list[Index]) -> tuple[F32, F32]:
        begin = replay(self._network, self._put(state), self._put(recent))
        after, output = rebuild(self._network, histories, begin=begin)
        return after.cpu().numpy(), output.cpu().numpy()

    def _put(self, array: F32 | Index) -> Tensor:
        return torch.from_numpy(array).to(self._device)


def _parts(state: Tensor) -> tuple[F32, F32]:
    """States (M, L, K, H) as h (M, L, H) and conv (M, L, K - 1, H), each contiguous."""
    numbers = state.cpu().numpy()
    return np.ascontiguousarray(numbers[:, :, -1]), np.ascontiguousarray(numbers[:, :, :-1])
