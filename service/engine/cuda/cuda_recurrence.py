"""Replay of items onto packed states with the network in PyTorch.

A single event of a user is one step of the network; several events go through the parallel scan of
`model.batch_states`.

Axes: M users, L layers, K conv taps, D model width, H channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np
import torch
from torch import Tensor

from model.batch_states import replay_histories
from model.network import RecBLR
from service.engine.arrays import F32, I64
from service.engine.cuda.cuda_graph import CapturedStep, recompute_conv_inputs, step
from service.engine.state_codec import StateBatch, StateCodec, join_states


class CudaRecurrence:
    """Recurrence of one model; see `interfaces.Recurrence`.

    A state keeps at most `max_rows` rows.
    """

    def __init__(self, network: RecBLR, max_rows: int) -> None:
        config = network.config
        self._network = network
        self._device = network.initial_state.device
        self.codec = StateCodec(config, config.hidden, max_rows)
        with torch.no_grad():
            state, output = network.begin(1), network.initial_state.new_zeros(1, config.dim)
            if config.start_token:
                output, state = network.step(torch.zeros(1, dtype=torch.int64, device=self._device), state)
        h, conv = _parts(state)
        self._initial_conv: F32 = np.ascontiguousarray(conv[0, 0])
        self.initial_state = self.codec.pack_initial(h, conv, output.cpu().numpy())
        self._captured = CapturedStep(network) if self._device.type == "cuda" else None

    @torch.no_grad()
    def replay(self, states: StateBatch, selected: Sequence[int], rows: Sequence[Sequence[int] | I64]) -> list[bytes]:
        """Advance some states by their items; see `interfaces.Recurrence`."""
        which = np.array(selected, np.int64)
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        new_starts = np.array([0, *accumulate(counts.tolist())])
        new_rows = np.fromiter(chain.from_iterable(rows), np.int64, int(new_starts[-1]))
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
        return self.codec.pack(states, which, new_rows, new_starts, h, conv, output)

    @torch.no_grad()
    def recurrent_values(self, state: bytes) -> F32:
        """Return all recurrent numbers of a valid state; see `interfaces.Recurrence`."""
        unpacked, recent = self._unpack(join_states([state]), np.zeros(1, np.int64))
        numbers: F32 = (
            recompute_conv_inputs(self._network, self._put(unpacked), self._put(recent)).cpu().numpy().ravel()
        )
        return numbers

    def _unpack(self, states: StateBatch, which: I64) -> tuple[F32, I64]:
        """Return unpacked states and recent rows.

        States are (M, L, K, H), rows (M, K - 1).

        The first layer's conv inputs are not recomputed yet.
        """
        h, conv, recent = self.codec.unpack(states, which, self._initial_conv)
        return np.concatenate([conv, h[:, :, None]], axis=2), recent

    def _step(self, state: F32, recent: I64, items: I64) -> tuple[F32, F32]:
        rows = np.concatenate([recent, items[:, None]], axis=1)
        if self._captured is not None:
            return self._captured(state, rows)
        after, output = step(self._network, self._put(state), self._put(rows))
        return after.cpu().numpy(), output.cpu().numpy()

    def _scan(self, state: F32, recent: I64, histories: list[I64]) -> tuple[F32, F32]:
        begin = recompute_conv_inputs(self._network, self._put(state), self._put(recent))
        after, output = replay_histories(self._network, histories, initial=begin)
        return after.cpu().numpy(), output.cpu().numpy()

    def _put(self, array: F32 | I64) -> Tensor:
        return torch.from_numpy(array).to(self._device)


def _parts(state: Tensor) -> tuple[F32, F32]:
    """Split states (M, L, K, H) into h and conv, both contiguous."""
    numbers = state.cpu().numpy()
    return np.ascontiguousarray(numbers[:, :, -1]), np.ascontiguousarray(numbers[:, :, :-1])
