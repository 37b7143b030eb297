"""Replay of long histories of many users, one chunk after the other.

The host prepares a chunk while the device works on the one before, and reads a chunk's results while the next one
runs. States are unpacked and packed on the device.

Axes: M users, T time, L layers, K conv taps, D model width, H channels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.compiled.array_types import I64, U32
from model.network import RecBLR
from model.state_layout import WORD_BYTES, StateLayout
from service.engine.cuda.cuda_graph import kernels_run, recompute_conv_inputs
from service.engine.state_codec import ROW_MASK, TYPE_BITS

MAX_STEPS = 1 << 19  # padded events of a chunk
MAX_USERS = 1 << 12
_IN_FLIGHT = 2


class Chunk(NamedTuple):
    """Work for M users.

    states  packed states, valid; None is a new history
    rows    (N,) the rows of all users' events, oldest first
    events  (M,) how many are of each user; at least one
    types   (N,) the types of all users' events; None: type 0
    """

    states: Sequence[bytes | None]
    rows: U32
    events: I64
    types: U32 | None = None

    @classmethod
    def of(cls, states: Sequence[bytes | None], codes: I64, events: I64) -> Chunk:
        """Return a chunk of events by their codes (N,)."""
        return cls(states, (codes & ROW_MASK).astype(np.uint32), events, (codes >> TYPE_BITS).astype(np.uint32))


class _Running(NamedTuple):
    """Results on their way from the device.

    words  the next states, end to end
    sizes  bytes of each
    ready  when the words have arrived
    """

    words: Tensor
    sizes: list[int]
    ready: torch.cuda.Event | None


class ReplayStream:
    """Stream of one model."""

    def __init__(
        self, network: RecBLR, layout: StateLayout, initial_conv: Tensor, initial_state: bytes, max_rows: int
    ) -> None:
        """Prepare for a network.

        Args:
            network: the model, in evaluation mode.
            layout: the format of its states.
            initial_conv: (K - 1, H) layer 0's conv inputs before any item.
            initial_state: the state before any item.
            max_rows: rows that a state keeps.
        """
        self._network, self._layout, self._max_rows = network, layout, max_rows
        self._device, self._typed = network.item_embedding.weight.device, layout.types_start < layout.rows_start
        self._initial_conv, self._initial_state = initial_conv.to(self._device), initial_state
        self._forward = _forward(network)

    def run(self, chunks: Iterable[Chunk]) -> Iterator[list[bytes]]:
        """Yield the next states of each chunk's users."""
        running: deque[_Running] = deque()
        for chunk in chunks:
            running.append(self._start(chunk))
            if len(running) == _IN_FLIGHT:
                yield _finish(running.popleft())
        while running:
            yield _finish(running.popleft())

    @torch.no_grad()
    def _start(self, chunk: Chunk) -> _Running:
        """Launch the work of one chunk."""
        M, floats, events = len(chunk.states), self._layout.rows_start, chunk.events
        states = [state or b"" for state in chunk.states]
        words = np.fromiter(map(len, states), np.int64, M) // WORD_BYTES
        kept = np.minimum(np.maximum(words - floats, 0) + events, self._max_rows)
        header = np.concatenate([words, events, kept]).astype(np.int32)
        types = np.zeros_like(chunk.rows) if chunk.types is None else chunk.types
        inbox = self._put(
            header,
            np.frombuffer(b"".join(states), np.int32),
            chunk.rows.view(np.int32),
            *([types.view(np.int32)] if self._typed else []),
            np.frombuffer(self._initial_state, np.int32),
        )
        out = self._advance(inbox, M, int(words.sum()), int(events.max()), int(kept.sum()))
        sizes = (WORD_BYTES * (floats + kept)).tolist()
        if self._device.type != "cuda":
            return _Running(out, sizes, None)
        host = torch.empty(out.shape, dtype=torch.int32, pin_memory=True)
        host.copy_(out, non_blocking=True)
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record()
        return _Running(host, sizes, ready)

    def _put(self, *parts: NDArray[np.int32]) -> Tensor:
        """Copy arrays to the device, end to end."""
        pinned = self._device.type == "cuda"
        host = torch.empty(sum(map(len, parts)), dtype=torch.int32, pin_memory=pinned)
        np.concatenate(parts, out=host.numpy())
        return host.to(self._device, non_blocking=True)

    def _advance(self, inbox: Tensor, M: int, words: int, steps: int, rows: int) -> Tensor:
        """Return the next states, end to end.

        Args:
            inbox: (3, M) words, events and kept rows of each user; the states, the events' rows and, for a model with
                types, their types, the initial state.
            M: users.
            words: words of all states.
            steps: the most events of a user.
            rows: kept rows of all users.
        """
        sizes = inbox[: 3 * M].view(3, M).long()
        ends = sizes.cumsum(dim=1)
        lengths, floats, users = sizes[1], self._layout.rows_start, torch.arange(M, device=self._device)
        end = torch.where(sizes[0] > 0, 3 * M + ends[0], len(inbox))
        start = torch.where(sizes[0] > 0, end - sizes[0], end - floats)
        events_end = 3 * M + words + ends[1]
        state, recent = self._unpack(inbox, start, end)
        t = torch.arange(steps, device=self._device)
        at = ((events_end - lengths)[:, None] + t).clamp(max=len(inbox) - 1)
        items = torch.where(t < lengths[:, None], inbox[at], 0)
        types = None
        if self._typed:
            at = (at + ends[1][-1]).clamp(max=len(inbox) - 1)
            types = torch.where(t < lengths[:, None], inbox[at], 0)
        after = self._forward(items, recompute_conv_inputs(self._network, state, recent), lengths, types)
        numbers = torch.cat([part.flatten(1) for part in after], dim=1)
        if types is not None:
            last = self._last_types(recent, types, lengths).int().view(torch.float32)
            numbers = torch.cat([numbers, last], dim=1)
        out = inbox.new_empty(M * floats + rows)
        out_end = floats * (users + 1) + ends[2]
        out_start = out_end - sizes[2] - floats
        out[out_start[:, None] + torch.arange(floats, device=self._device)] = numbers.view(torch.int32)
        owner = torch.repeat_interleave(users, sizes[2], output_size=rows)
        back = ends[2][owner] - torch.arange(rows, device=self._device)  # 1 is the newest row
        old = back - lengths[owner]
        out[out_end[owner] - back] = inbox[torch.where(old <= 0, events_end[owner] - back, end[owner] - old)]
        return out

    def _unpack(self, inbox: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Return unpacked states and recent events.

        States are (M, L, K, H), events (M, K - 1). Layer 0's conv inputs are not recomputed.
        """
        layout, M = self._layout, len(start)
        taps = layout.conv_inputs
        numbers = inbox.view(torch.float32)[start[:, None] + torch.arange(layout.rows_start, device=self._device)]
        state = numbers.new_empty(M, layout.layers, taps + 1, layout.hidden)
        state[:, :, -1] = numbers[:, layout.h_start : layout.conv_start].view(M, layout.layers, layout.hidden)
        conv = numbers[:, layout.conv_start : layout.types_start]
        state[:, 1:, :-1] = conv.view(M, layout.layers - 1, taps, layout.hidden)
        known = (end - start - layout.rows_start)[:, None]
        back = torch.arange(taps, 0, -1, device=self._device)
        recent = inbox[end[:, None] - back].long()
        if self._typed:
            recent |= numbers[:, layout.types_start :].view(torch.int32).long() << TYPE_BITS
        recent = torch.where(back > known, -1, recent)
        k = torch.arange(taps, device=self._device) + known
        state[:, 0, :-1] = self._initial_conv[torch.where(back > known, k, 0)]
        return state, recent

    def _last_types(self, recent: Tensor, types: Tensor, lengths: Tensor) -> Tensor:
        """Return the types of each user's last K - 1 events.

        They are among the recent events (M, K - 1) and the types (M, T) of the new ones.
        """
        taps = self._layout.conv_inputs
        earlier = torch.where(recent < 0, 0, recent >> TYPE_BITS)
        both = torch.cat([earlier, types], dim=1)
        return both.gather(1, lengths[:, None] + torch.arange(taps, device=self._device))


def chunks_by_length(lengths: I64) -> list[I64]:
    """Split users with histories of so many events into chunks.

    A chunk has users of similar length, at most MAX_USERS, and at most MAX_STEPS padded events or one user.
    """
    order = np.argsort(lengths, kind="stable")
    ordered, found, start = lengths[order], [], 0
    while start < len(order):
        stop = min(start + MAX_USERS, len(order))
        fitting = np.arange(1, stop - start + 1) * ordered[start:stop] <= MAX_STEPS  # the last one pads all
        stop = start + max(1, int(np.count_nonzero(fitting)))
        found.append(order[start:stop])
        start = stop
    return found


def _finish(running: _Running) -> list[bytes]:
    """Wait for the results of a chunk."""
    if running.ready is not None:
        running.ready.synchronize()
    layout = Struct("%ds" * len(running.sizes) % tuple(running.sizes))
    return list(layout.unpack(running.words.numpy().data))


_Forward = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor]]


def _forward(network: RecBLR) -> _Forward:
    """Return the forward pass of the network.

    It takes items (M, T), states, lengths and types (M, T). It returns output (M, D), h (M, L, H), and conv
    (M, L - 1, K - 1, H) of the upper layers after the last item.
    """
    if kernels_run(network.item_embedding.weight.device):
        from service.engine.cuda.sequence_forward import SequenceForward

        return SequenceForward(network)

    def forward(items: Tensor, state: Tensor, lengths: Tensor, types: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        outputs, after = network(items.long(), state, lengths, types=None if types is None else types.long())
        return outputs[torch.arange(len(items)), lengths - 1], after[:, :, -1], after[:, 1:, :-1]

    return forward
