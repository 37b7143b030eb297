"""Long histories of many users through the network, a chunk after the other.

A chunk is prepared on the host while the device works on the one before it; a chunk's results are read while the next
one runs. States are unpacked and packed on the device.

Axes: M users, T time, L layers, K conv taps, D model width, H channels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.network import RecBLR
from service.engine.cuda.cuda_graph import kernels_run, replay
from service.engine.state_codec_kernels import Index

STEPS = 1 << 18  # padded events of a chunk
USERS = 1 << 12
_IN_FLIGHT = 2


class Chunk(NamedTuple):
    """Packed states of M users, none empty, and the rows of their new events (uint32), at least one each."""

    states: Sequence[bytes]
    rows: Sequence[bytes]


class _Running(NamedTuple):
    """What comes back from the device: the words of the next states, each of so many bytes."""

    words: Tensor
    sizes: list[int]
    ready: torch.cuda.Event | None


class ReplayStream:
    """Replays histories into packed states of at most `kept` rows; first_inputs (K - 1, H) as in `FusedStep`."""

    def __init__(self, network: RecBLR, first_inputs: Tensor, floats: int, kept: int) -> None:
        self._network, self._floats, self._kept = network, floats, kept
        self._device = network.item_embedding.weight.device
        self._first_inputs = first_inputs.to(self._device)
        self._forward = _forward(network)

    def run(self, chunks: Iterator[Chunk]) -> Iterator[list[bytes]]:
        """The next states of each chunk's users, in the order of the chunks."""
        running: deque[_Running] = deque()
        for chunk in chunks:
            running.append(self._start(chunk))
            if len(running) == _IN_FLIGHT:
                yield _finish(running.popleft())
        while running:
            yield _finish(running.popleft())

    @torch.no_grad()
    def _start(self, chunk: Chunk) -> _Running:
        M, floats = len(chunk.states), self._floats
        words = np.fromiter(map(len, chunk.states), np.int64, M) // 4
        new = np.fromiter(map(len, chunk.rows), np.int64, M) // 4
        known = np.minimum(words - floats + new, self._kept)
        header = np.stack([words, new, known])
        parts = [header.astype(np.int32).tobytes(), *chunk.states, *chunk.rows]
        inbox = self._put(b"".join(parts))
        steps, total = int(new.max()), int(known.sum())
        out = self._advance(inbox, M, int(words.sum()), steps, total)
        sizes = (4 * (floats + known)).tolist()
        if self._device.type != "cuda":
            return _Running(out, sizes, None)
        back = torch.empty(out.shape, dtype=torch.int32, pin_memory=True)
        back.copy_(out, non_blocking=True)
        ready = torch.cuda.Event()
        ready.record()  # type: ignore[no-untyped-call]
        return _Running(back, sizes, ready)

    def _put(self, data: bytes) -> Tensor:
        cuda = self._device.type == "cuda"
        host = torch.empty(len(data) // 4, dtype=torch.int32, pin_memory=cuda)
        host.numpy()[:] = np.frombuffer(data, np.int32)
        return host.to(self._device, non_blocking=True)

    def _advance(self, inbox: Tensor, M: int, words: int, steps: int, rows: int) -> Tensor:
        """The next states end to end; `inbox` is (3, M) sizes, then `words` words of states, then the new rows."""
        sizes = inbox[: 3 * M].view(3, M).long()
        ends = sizes.cumsum(dim=1)
        end, new_end = 3 * M + ends[0], 3 * M + words + ends[1]
        lengths, floats = sizes[1], self._floats
        state, recent = self._unpack(inbox, end - sizes[0], end)
        begin = replay(self._network, state, recent)
        t = torch.arange(steps, device=self._device)
        place = (new_end - lengths)[:, None] + t
        items = torch.where(t < lengths[:, None], inbox[place.clamp(max=len(inbox) - 1)], 0)
        after = self._forward(items, begin, lengths)
        numbers = torch.cat([tensor.flatten(1) for tensor in after], dim=1)
        out = inbox.new_empty(M * floats + rows)
        out_end = floats * torch.arange(1, M + 1, device=self._device) + ends[2]
        first = out_end - sizes[2] - floats
        out[first[:, None] + torch.arange(floats, device=self._device)] = numbers.view(torch.int32)
        owner = torch.repeat_interleave(torch.arange(M, device=self._device), sizes[2], output_size=rows)
        back = ends[2][owner] - torch.arange(rows, device=self._device)  # 1 is the newest row
        source = torch.where(back <= lengths[owner], new_end[owner] - back, end[owner] - back + lengths[owner])
        out[out_end[owner] - back] = inbox[source]
        return out

    def _unpack(self, inbox: Tensor, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """States (M, L, K, H), the first layer's conv inputs still to be replayed, and their last rows (M, K - 1)."""
        config, M = self._network.config, len(begin)
        D, H, L, taps = config.dim, config.hidden, config.layers, config.conv_width - 1
        numbers = inbox.view(torch.float32)[begin[:, None] + torch.arange(self._floats, device=self._device)]
        state = numbers.new_empty(M, L, taps + 1, H)
        state[:, :, -1] = numbers[:, D : D + L * H].view(M, L, H)
        state[:, 1:, :-1] = numbers[:, D + L * H :].view(M, L - 1, taps, H)
        known = end - begin - self._floats
        back = torch.arange(taps, 0, -1, device=self._device)
        absent = back > known[:, None]
        recent = torch.where(absent, -1, inbox[(end[:, None] - back).clamp(min=0)])
        k = torch.arange(taps, device=self._device) + known[:, None]
        state[:, 0, :-1] = self._first_inputs[torch.where(absent, k, 0)]
        return state, recent.long()


def chunks_by_length(lengths: Index) -> list[Index]:
    """Users in order of length, as many together as the bounds on users and padded events allow."""
    order = np.argsort(lengths, kind="stable")
    found, start = [], 0
    ordered = lengths[order]
    while start < len(order):
        stop = min(start + USERS, len(order))
        # With ordered lengths the last one pads all: take the most users for which that stays within the bound.
        fitting = np.arange(1, stop - start + 1) * ordered[start:stop] <= STEPS
        stop = start + max(1, int(np.count_nonzero(fitting)))
        found.append(order[start:stop])
        start = stop
    return found


def _finish(running: _Running) -> list[bytes]:
    if running.ready is not None:
        running.ready.synchronize()
    layout = Struct("%ds" * len(running.sizes) % tuple(running.sizes))
    return list(layout.unpack(running.words.numpy()))


def _forward(network: RecBLR) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Output (M, D), h (M, L, H) and conv (M, L - 1, K - 1, H) after items (M, T), from states and lengths."""
    if kernels_run(network.item_embedding.weight.device):
        from service.engine.cuda.sequence_forward import SequenceForward

        return SequenceForward(network)

    def forward(items: Tensor, state: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        outputs, after = network(items.long(), state, lengths)
        output = outputs[torch.arange(len(items)), lengths - 1]
        return output, after[:, :, -1], after[:, 1:, :-1]

    return forward
