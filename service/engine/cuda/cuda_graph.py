"""CUDA graphs, their memory, and the network's step as one.

Without a graph the kernel launches of a step take longer than its computation.

Axes as in `cuda_recurrence`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.compiled.array_types import F32, I64
from model.layers import RecurrentLayer
from model.network import RecBLR
from service.engine.state_codec import ROW_MASK, TYPE_BITS

# A graph has a fixed batch size. Smaller batches are padded, larger ones are split.
_SIZES = (1, 8, 64, 256, 1024)
_WARM_UP = 2


def recompute_conv_inputs(network: RecBLR, state: Tensor, recent: Tensor) -> Tensor:
    """Return states with the first layer's conv inputs recomputed.

    The states are (M, L, K, H).

    They follow from the codes of the last events, recent (M, K - 1). An event of -1 leaves an input as it is.
    """
    first = network.recurrent_layers[0]
    assert isinstance(first, RecurrentLayer)  # noqa: S101 - ModuleList forgets its element type
    events = recent.clamp(min=0)
    embedded = network.embed(events & ROW_MASK, events >> TYPE_BITS)
    x, _ = first.behavior_modeling.input(embedded).chunk(2, dim=-1)
    inputs = torch.where((recent >= 0)[:, :, None], x, state[:, 0, :-1])
    bottom = torch.cat([inputs, state[:, 0, -1:]], dim=1)
    return torch.cat([bottom[:, None], state[:, 1:]], dim=1)


def step(network: RecBLR, state: Tensor, events: Tensor) -> tuple[Tensor, Tensor]:
    """Return states and outputs after one more event.

    States are (M, L, K, H), outputs (M, D).

    events (M, K) are the codes of the recent events and of the new one.
    """
    new, before = events[:, -1], recompute_conv_inputs(network, state, events[:, :-1])
    output, after = network.step(new & ROW_MASK, before, new >> TYPE_BITS)
    return after, output


class CapturedStep:
    """`step` on a CUDA device, captured for a few batch sizes; thread-safe."""

    def __init__(self, network: RecBLR) -> None:
        self._lock = threading.Lock()
        self._network = network
        self._graphs = {size: _Graph(network, size) for size in _SIZES}

    def __call__(self, state: F32, events: I64) -> tuple[F32, F32]:
        """Run `step` on arrays in host memory."""
        most = _SIZES[-1]
        parts = [self._part(state[n : n + most], events[n : n + most]) for n in range(0, len(events), most)]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([after for after, _ in parts]), np.concatenate([output for _, output in parts])

    def _part(self, state: F32, events: I64) -> tuple[F32, F32]:
        graph = self._graphs[next(size for size in _SIZES if size >= len(events))]
        with self._lock:
            return graph(state, events)


class _Graph:
    """Captured `step` of one batch size, with fixed input and output tensors."""

    def __init__(self, network: RecBLR, size: int) -> None:
        self._network = network
        self._state = network.begin(size).clone()
        self._events = torch.zeros(size, network.config.conv_width, dtype=torch.int64, device=self._state.device)
        self._replay = capture(self._run, self._state.device)

    @torch.no_grad()
    def _run(self) -> None:
        self._after, self._output = step(self._network, self._state, self._events)

    def __call__(self, state: F32, events: I64) -> tuple[F32, F32]:
        n = len(events)
        self._state[:n].copy_(torch.from_numpy(state))
        self._events[:n].copy_(torch.from_numpy(events))
        self._replay()
        return self._after[:n].cpu().numpy(), self._output[:n].cpu().numpy()


def kernels_run(device: torch.device) -> bool:
    """Return whether Triton kernels run on this device.

    They run on a GPU, and on a CPU if Triton interprets them.
    """
    return device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"


def missing() -> str | None:
    """Return why PyTorch cannot use a GPU, or None."""
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built for CPUs: install one that is built for CUDA"
    if not torch.cuda.is_available():
        return "PyTorch finds no CUDA device: see that nvidia-smi lists one and that this process may use it"
    return None


def capture(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Record `work` as a CUDA graph and return its replay.

    On a CPU return `work` itself.
    """
    if device.type != "cuda":
        return work
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # kernels and workspaces must exist before the capture
        for _ in range(_WARM_UP):
            work()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    # Another engine may allocate in another thread during the capture.
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        work()
    return graph.replay


class Mailbox:
    """int32 words in pinned host memory and on the device."""

    def __init__(self, words: int, device: torch.device) -> None:
        self.device = torch.zeros(words, dtype=torch.int32, device=device)
        self._pinned: Tensor = torch.zeros(words, dtype=torch.int32, pin_memory=device.type == "cuda")
        self.host: NDArray[np.int32] = self._pinned.numpy()

    def upload(self, words: int) -> None:
        """Copy the first words to the device, in the stream's order."""
        self.device[:words].copy_(self._pinned[:words], non_blocking=True)

    def download(self, words: int) -> None:
        """Copy the first words from the device and wait for them."""
        self._pinned[:words].copy_(self.device[:words], non_blocking=True)
        if self.device.is_cuda:
            torch.cuda.current_stream(self.device.device).synchronize()
