"""Replay of items onto packed states with the network in PyTorch.

A single event of a user is one step of the network, on a GPU as a kernel (`RequestPipeline`). Several events go
through `ReplayStream`.

Axes: M users, L layers, K conv taps, D model width, H channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from model.bundle.bundle import Bundle
from model.compiled.array_types import F32, I64
from model.network import RecBLR
from model.state_layout import WORD_BYTES
from service.engine.appended_items import AppendedItems
from service.engine.cuda.cuda_graph import CapturedStep, recompute_conv_inputs, step
from service.engine.cuda.replay_stream import Chunk, ReplayStream, chunks_by_length
from service.engine.state_codec import StateBatch, StateCodec, join_states

if TYPE_CHECKING:  # these need Triton, which a CPU's torch does not bring
    from service.engine.cuda.request_pipeline import RequestPipeline
    from service.engine.cuda.topk_search import TopKSearch


class CudaRecurrence:
    """Recurrence of one model; see `interfaces.Recurrence`.

    A state keeps at most `max_rows` rows. The kernels of a GPU come with the kernels' search; without `search` the
    network's own step is used.
    """

    def __init__(self, network: RecBLR, max_rows: int, search: TopKSearch | None = None) -> None:
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
        initial_conv = torch.from_numpy(self._initial_conv)
        self.stream = ReplayStream(network, self.codec.layout, initial_conv, self.initial_state, max_rows)
        self.pipeline = _pipeline(network, self.codec.layout.rows_start, initial_conv, max_rows, search)
        self._captured = CapturedStep(network) if self._device.type == "cuda" and self.pipeline is None else None

    def replay(
        self,
        states: StateBatch,
        selected: Sequence[int],
        events: Sequence[Sequence[int] | I64],
        appended: AppendedItems,
    ) -> list[bytes]:
        """Advance some states by their events; see `interfaces.Recurrence`."""
        counts = np.fromiter(map(len, events), np.int64, len(events))
        after: list[bytes] = [b""] * len(selected)
        for chosen, run in ((counts == 1, self._advance), (counts > 1, self._replay_histories)):
            which = np.flatnonzero(chosen).tolist()
            if which:
                ranges = [states.starts[selected[n] : selected[n] + 2].tolist() for n in which]
                own = [states.words[start:end].tobytes() for start, end in ranges]
                for n, state in zip(which, run(own, [events[n] for n in which]), strict=True):
                    after[n] = state
        return after

    def _advance(self, states: list[bytes], events: Sequence[Sequence[int] | I64]) -> list[bytes]:
        """Return the states after one event each."""
        new = np.array([own[0] for own in events], np.int64)
        words = np.fromiter(map(len, states), np.int64, len(states)) // WORD_BYTES
        if self.pipeline is None or not self.pipeline.fits(words).all():
            return self._step_packed(join_states(states), new)
        after: list[bytes] = []
        for part in self.pipeline.parts(words):
            after += self.pipeline.advance(states[part], words[part], new[part]).states
        return after

    def _replay_histories(self, states: list[bytes], events: Sequence[Sequence[int] | I64]) -> list[bytes]:
        """Return the states after several events each."""
        lengths = np.fromiter(map(len, events), np.int64, len(events))
        batches = chunks_by_length(lengths)
        chunks = (
            Chunk.of([states[n] for n in batch], np.concatenate([events[n] for n in batch]), lengths[batch])
            for batch in batches
        )
        for batch, after in zip(batches, self.stream.run(chunks), strict=True):
            for n, state in zip(batch.tolist(), after, strict=True):
                states[n] = state
        return states

    @torch.no_grad()
    def _step_packed(self, states: StateBatch, new: I64) -> list[bytes]:
        """Return the states after one event each, without kernels."""
        which, new_starts = np.arange(len(new)), np.arange(len(new) + 1)
        state, recent = self._unpack(states, which)
        state, output = self._step(state, recent, new)
        h, conv = _parts(torch.from_numpy(state))
        return self.codec.pack(states, which, new, new_starts, h, conv, output)

    @torch.no_grad()
    def recurrent_values(self, state: bytes, appended: AppendedItems) -> F32:
        """Return all recurrent numbers of a valid state; see `interfaces.Recurrence`."""
        unpacked, recent = self._unpack(join_states([state]), np.zeros(1, np.int64))
        numbers: F32 = (
            recompute_conv_inputs(self._network, self._put(unpacked), self._put(recent)).cpu().numpy().ravel()
        )
        return numbers

    def _unpack(self, states: StateBatch, which: I64) -> tuple[F32, I64]:
        """Return unpacked states and recent events.

        States are (M, L, K, H), events (M, K - 1).

        The first layer's conv inputs are not recomputed yet.
        """
        h, conv, recent = self.codec.unpack(states, which, self._initial_conv)
        return np.concatenate([conv, h[:, :, None]], axis=2), recent

    def _step(self, state: F32, recent: I64, new: I64) -> tuple[F32, F32]:
        events = np.concatenate([recent, new[:, None]], axis=1)
        if self._captured is not None:
            return self._captured(state, events)
        after, output = step(self._network, self._put(state), self._put(events))
        return after.cpu().numpy(), output.cpu().numpy()

    def _put(self, array: F32 | I64) -> Tensor:
        return torch.from_numpy(array).to(self._device)


def load_network(bundle: Bundle, device: torch.device) -> RecBLR:
    """Return the bundle's network on the device, in evaluation mode."""
    with torch.device("meta"):  # no initialisation, because the weights are assigned below
        network = RecBLR(bundle.config)
    weights = {name: torch.tensor(array, device=device) for name, array in bundle.weights.items()}
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def _parts(state: Tensor) -> tuple[F32, F32]:
    """Split states (M, L, K, H) into h and conv, both contiguous."""
    numbers = state.cpu().numpy()
    return np.ascontiguousarray(numbers[:, :, -1]), np.ascontiguousarray(numbers[:, :, :-1])


def _pipeline(
    network: RecBLR, floats: int, initial_conv: Tensor, max_rows: int, search: TopKSearch | None
) -> RequestPipeline | None:
    """Return the pipeline, if there are kernels for this network."""
    if search is None:
        return None
    from service.engine.cuda.fused_step import FusedStep, supported
    from service.engine.cuda.request_pipeline import RequestPipeline

    if not supported(network.config):
        return None
    return RequestPipeline(FusedStep(network, initial_conv), search, floats, max_rows)
