"""The network over whole histories, for what replay needs of it: the last output and the last state.

The arithmetic is that of `RecBLR.forward` (design section 2). Of the top layer only the recurrence is computed for every
event; its gates' branch, projection and feed-forward network are computed for the last one.

Axes: M users, T time, L layers, K conv taps, D model width, H channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import LAYER_NORM_EPS
from model.layers import RecurrentLayer
from model.network import RecBLR
from model.ops import gated_scan
from service.engine.cuda.kernels.sequence_kernels import conv_kernel, gate_kernel, norm_kernel


class Replayed(NamedTuple):
    """After each user's last event: output (M, D), h (M, L, H), and conv (M, L - 1, K - 1, H) of the upper layers."""

    output: Tensor
    h: Tensor
    conv: Tensor


class SequenceForward:
    """A network in evaluation mode on a CUDA device."""

    def __init__(self, network: RecBLR) -> None:
        self._network = network
        self._layers: list[RecurrentLayer] = [layer for layer in network.recurrent_layers]  # type: ignore[misc]
        self._taps = [layer.behavior_modeling.conv1d.weight[:, 0].T.contiguous() for layer in self._layers]
        config = network.config
        self._D, self._H, self._K = config.dim, config.hidden, config.conv_width
        self._DP, self._HP = (max(16, 1 << (n - 1).bit_length()) for n in (self._D, self._H))

    @torch.no_grad()
    def __call__(self, items: Tensor, state: Tensor, lengths: Tensor) -> Replayed:
        """Replay items (M, T) into state (M, L, K, H); lengths (M,) from 1 to T, what lies beyond is padding."""
        M, T = items.shape
        last = torch.arange(M, device=items.device) * T + lengths - 1
        u = self._embed(items.flatten())
        h, conv = [], []
        for index, layer in enumerate(self._layers):
            mixer, top = layer.behavior_modeling, index == len(self._layers) - 1
            weight = mixer.input.weight[: self._H] if top else mixer.input.weight
            xz = u @ weight.T
            if index:
                conv.append(self._last_inputs(xz.view(M, T, -1)[:, :, : self._H], state[:, index, :-1], lengths))
            x = self._convolve(index, xz, state[:, index, :-1], T)
            gates = F.linear(x, mixer.gates.weight, mixer.gates.bias)
            steps, after = gated_scan(
                x.view(M, T, -1), gates.view(M, T, -1), mixer.Lambda, state[:, index, -1].contiguous(), lengths
            )
            h.append(after)
            if top:
                u = u[last]
                z = F.linear(u, mixer.input.weight[self._H :])
                mixed = F.linear(F.silu(z) * after, mixer.output.weight)
            else:
                mixed = F.linear(self._gate(xz, steps.view(M * T, -1)), mixer.output.weight)
            u = self._mix(layer, mixed, u)
        empty = state[:, :0, :-1]
        return Replayed(u, torch.stack(h, dim=1), torch.stack(conv, dim=1) if conv else empty)

    def _embed(self, items: Tensor) -> Tensor:
        return self._norm(self._network.layer_norm, self._network.item_embedding.weight, items, None)

    def _mix(self, layer: RecurrentLayer, mixed: Tensor, u: Tensor) -> Tensor:
        y = self._norm(layer.layer_norm, mixed, None, u)
        inner = F.silu(F.linear(y, layer.ffn.w_1.weight, layer.ffn.w_1.bias), inplace=True)
        return self._norm(layer.ffn.layer_norm, F.linear(inner, layer.ffn.w_2.weight, layer.ffn.w_2.bias), None, y)

    def _norm(self, norm: nn.LayerNorm, x: Tensor, rows: Tensor | None, residual: Tensor | None) -> Tensor:
        """LayerNorm of x + residual, or of these rows of x."""
        N, block = len(x) if rows is None else len(rows), max(1, 2048 // self._DP)
        out = x.new_empty(N, self._D)
        norm_kernel[(-(-N // block),)](
            x, x if rows is None else rows, x if residual is None else residual, norm.weight, norm.bias, out, N,
            D=self._D, DP=self._DP, EPS=LAYER_NORM_EPS, GATHER=rows is not None, ROWS=block, num_warps=4,
        )  # fmt: skip
        return out

    def _convolve(self, index: int, xz: Tensor, before: Tensor, T: int) -> Tensor:
        conv = self._layers[index].behavior_modeling.conv1d
        out = xz.new_empty(len(xz), self._H)
        block = max(1, 4096 // self._HP)
        conv_kernel[(len(before), -(-T // block))](
            xz, xz.stride(0), before, before.stride(0), self._taps[index], conv.bias, out, T,
            H=self._H, K=self._K, HP=self._HP, STEPS=block, num_warps=4,
        )  # fmt: skip
        return out

    def _gate(self, xz: Tensor, h: Tensor) -> Tensor:
        out, block = torch.empty_like(h), max(1, 4096 // self._HP)
        z = xz[:, self._H :]
        gate_kernel[(-(-len(h) // block),)](
            z, z.stride(0), h, out, len(h), H=self._H, HP=self._HP, ROWS=block, num_warps=4
        )
        return out

    def _last_inputs(self, x: Tensor, before: Tensor, lengths: Tensor) -> Tensor:
        """The last K - 1 conv inputs (M, K - 1, H) of each user, some of them from before its first event."""
        taps = self._K - 1
        at = lengths[:, None] - taps + torch.arange(taps, device=x.device)
        user = torch.arange(len(x), device=x.device)[:, None]
        return torch.where((at >= 0)[:, :, None], x[user, at.clamp(min=0)], before[user, (at + taps).clamp(max=taps - 1)])
