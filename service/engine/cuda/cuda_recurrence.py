"""Packed states advanced by the network in PyTorch: on a GPU, or wherever its parameters are.

One event of each user is a step of the network (on a GPU a kernel of ours); more go through `ReplayStream`.

Axes: M users, L layers, K conv taps, D model width, H channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.network import RecBLR
from model.state_layout import F32
from service.engine.cuda.cuda_graph import CapturedStep, replay, step
from service.engine.cuda.replay_stream import Chunk, ReplayStream, chunks_by_length
from service.engine.state_codec import Batch, StateCodec, join
from service.engine.state_codec_kernels import Index

if TYPE_CHECKING:  # these need Triton, which is not everywhere where torch is
    from service.engine.cuda.request_pipeline import RequestPipeline
    from service.engine.cuda.topk_search import TopKSearch


class CudaRecurrence:
    """Replays items into packed states; see `interfaces.Recurrence`. `kept`: how many rows a state remembers at most.

    Without `search` no kernel of ours is used: this is the path of a CPU.
    """

    def __init__(self, network: RecBLR, kept: int, search: TopKSearch | None = None) -> None:
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
        first_inputs = torch.from_numpy(self._begin)
        self.stream = ReplayStream(network, first_inputs, self.floats, kept)
        self.pipeline = _pipeline(network, first_inputs, self.floats, kept, search)
        self._captured = CapturedStep(network) if self._device.type == "cuda" and self.pipeline is None else None

    def sound(self, states: Batch) -> NDArray[np.bool_]:
        """Which states can have come from a replay."""
        return self._codec.sound(states)

    def fold(self, states: Batch, picked: Sequence[int], rows: Sequence[Sequence[int] | Index]) -> list[bytes]:
        """The picked states, which must be sound, after their items' rows: at least one each."""
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        after: list[bytes] = [b""] * len(picked)
        for chosen, run in ((np.flatnonzero(counts == 1), self._advance), (np.flatnonzero(counts > 1), self._replay)):
            if chosen.size:
                own = [
                    states.words[states.starts[picked[n]] : states.starts[picked[n] + 1]].tobytes() for n in chosen
                ]
                for n, state in zip(chosen.tolist(), run(own, [rows[n] for n in chosen]), strict=True):
                    after[n] = state
        return after

    def _advance(self, states: list[bytes], rows: Sequence[Sequence[int] | Index]) -> list[bytes]:
        """States after one event each."""
        fresh = np.array([new[0] for new in rows], np.int64)
        words = np.fromiter(map(len, states), np.int64, len(states)) // 4
        if self.pipeline is None or not self.pipeline.fits(words).all():
            return self._step_packed(join(states), fresh)
        after: list[bytes] = []
        for part in self.pipeline.parts(words):
            after += self.pipeline.advance(states[part], words[part], fresh[part]).states
        return after

    def _replay(self, states: list[bytes], rows: Sequence[Sequence[int] | Index]) -> list[bytes]:
        """States after several events each."""
        packed = [np.asarray(new, np.uint32).tobytes() for new in rows]
        batches = chunks_by_length(np.fromiter(map(len, rows), np.int64, len(rows)))
        chunks = (Chunk([states[n] for n in batch], [packed[n] for n in batch]) for batch in batches)
        for batch, after in zip(batches, self.stream.run(chunks), strict=True):
            for n, state in zip(batch.tolist(), after, strict=True):
                states[n] = state
        return states

    @torch.no_grad()
    def _step_packed(self, states: Batch, fresh: Index) -> list[bytes]:
        """`_advance` by the network's own step, packed on the host."""
        M = len(fresh)
        which, new_starts = np.arange(M), np.arange(M + 1)
        _, starts = self._codec.plan(states, which, new_starts)
        state, recent = self._unpack(states, which)
        state, output = self._step(state, recent, fresh)
        h, conv = _parts(torch.from_numpy(state))
        return self._codec.pack(states, which, fresh, new_starts, starts, h, conv, output)

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

    def _put(self, array: F32 | Index) -> Tensor:
        return torch.from_numpy(array).to(self._device)


def _parts(state: Tensor) -> tuple[F32, F32]:
    """States (M, L, K, H) as h (M, L, H) and conv (M, L, K - 1, H), each contiguous."""
    numbers = state.cpu().numpy()
    return np.ascontiguousarray(numbers[:, :, -1]), np.ascontiguousarray(numbers[:, :, :-1])


def _pipeline(
    network: RecBLR, first_inputs: Tensor, floats: int, kept: int, search: TopKSearch | None
) -> RequestPipeline | None:
    """The fast path of single events, where there are kernels for this network."""
    if search is None:
        return None
    from service.engine.cuda.fused_step import FusedStep, supported
    from service.engine.cuda.request_pipeline import RequestPipeline

    if not supported(network.config):
        return None
    return RequestPipeline(FusedStep(network, first_inputs), search, floats, kept)
