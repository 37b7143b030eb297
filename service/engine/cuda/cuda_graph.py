"""Network step for many users, as a CUDA graph on a GPU.

Without a graph the kernel launches of a step take longer than its computation.

Axes as in `cuda_recurrence`.
"""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor

from model.layers import RecurrentLayer
from model.network import RecBLR
from service.engine.arrays import F32, I64

# A graph has a fixed batch size. Smaller batches are padded, larger ones are split.
_SIZES = (1, 8, 64, 256, 1024)
_WARM_UP = 3


def recompute_conv_inputs(network: RecBLR, state: Tensor, recent: Tensor) -> Tensor:
    """Return states with the first layer's conv inputs recomputed.

    The states are (M, L, K, H).

    They follow from the last rows, recent (M, K - 1). A row of -1 leaves an input as it is.
    """
    first = network.recurrent_layers[0]
    assert isinstance(first, RecurrentLayer)  # noqa: S101 - ModuleList forgets its element type
    x, _ = first.behavior_modeling.input(network.embed(recent.clamp(min=0))).chunk(2, dim=-1)
    inputs = torch.where((recent >= 0)[:, :, None], x, state[:, 0, :-1])
    bottom = torch.cat([inputs, state[:, 0, -1:]], dim=1)
    return torch.cat([bottom[:, None], state[:, 1:]], dim=1)


def step(network: RecBLR, state: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return states and outputs after one more item.

    States are (M, L, K, H), outputs (M, D).

    rows (M, K) are the recent rows and the row of the new item.
    """
    output, after = network.step(rows[:, -1], recompute_conv_inputs(network, state, rows[:, :-1]))
    return after, output


class CapturedStep:
    """`step` on a CUDA device, captured for a few batch sizes; thread-safe."""

    def __init__(self, network: RecBLR) -> None:
        self._lock = threading.Lock()
        self._network = network
        self._graphs = {size: _Graph(network, size) for size in _SIZES}

    def __call__(self, state: F32, rows: I64) -> tuple[F32, F32]:
        """Run `step` on arrays in host memory."""
        parts = [
            self._part(state[n : n + _SIZES[-1]], rows[n : n + _SIZES[-1]]) for n in range(0, len(rows), _SIZES[-1])
        ]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([after for after, _ in parts]), np.concatenate([output for _, output in parts])

    def _part(self, state: F32, rows: I64) -> tuple[F32, F32]:
        graph = self._graphs[next(size for size in _SIZES if size >= len(rows))]
        with self._lock:
            return graph(state, rows)


class _Graph:
    """Captured `step` of one batch size, with fixed input and output tensors."""

    def __init__(self, network: RecBLR, size: int) -> None:
        self._state = network.begin(size).clone()
        self._rows = torch.zeros(size, network.config.conv_width, dtype=torch.int64, device=self._state.device)
        stream = torch.cuda.Stream(self._state.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.no_grad():
            with torch.cuda.stream(stream):  # kernels and workspaces must exist before the capture
                for _ in range(_WARM_UP):
                    step(network, self._state, self._rows)
            stream.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            # Another engine may allocate in another thread during the capture.
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._after, self._output = step(network, self._state, self._rows)

    def __call__(self, state: F32, rows: I64) -> tuple[F32, F32]:
        n = len(rows)
        self._state[:n].copy_(torch.from_numpy(state))
        self._rows[:n].copy_(torch.from_numpy(rows))
        self._graph.replay()
        return self._after[:n].cpu().numpy(), self._output[:n].cpu().numpy()
