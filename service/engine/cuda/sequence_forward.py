"""Network over whole histories, up to the last output and state.

The arithmetic is that of `RecBLR.forward` (design section 2). The top layer computes only its recurrence for every
event; the rest of it is computed for each user's last event.

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
from model.ops.gated_scan.dispatch import gated_scan
from service.engine.cuda.kernels.sequence_kernels import conv_kernel, gate_kernel, norm_kernel


class Replayed(NamedTuple):
    """Values after each user's last event.

    output  (M, D)
    h       (M, L, H)
    conv    (M, L - 1, K - 1, H) the last conv inputs of the layers above the first
    """

    output: Tensor
    h: Tensor
    conv: Tensor


class SequenceForward:
    """Forward pass of one network in evaluation mode."""

    def __init__(self, network: RecBLR) -> None:
        config = network.config
        self._network = network
        self._layers = [layer for layer in network.recurrent_layers if isinstance(layer, RecurrentLayer)]
        self._taps = [layer.behavior_modeling.conv1d.weight[:, 0].T.contiguous() for layer in self._layers]
        self._D, self._H, self._K = config.dim, config.hidden, config.conv_width
        self._DP, self._HP = (max(16, 1 << (n - 1).bit_length()) for n in (self._D, self._H))

    @torch.no_grad()
    def __call__(self, items: Tensor, state: Tensor, lengths: Tensor, types: Tensor | None = None) -> Replayed:
        """Replay events onto state (M, L, K, H).

        items and types are (M, T). lengths (M,) are from 1 to T; what is beyond them is padding. Without types all
        are type 0.
        """
        M, T = items.shape
        last = torch.arange(M, device=items.device) * T + lengths - 1
        u = self._embed(items.flatten(), None if types is None else types.flatten())
        h, conv = [], []
        for index, layer in enumerate(self._layers):
            mixer, top = layer.behavior_modeling, layer is self._layers[-1]
            xz = F.linear(u, mixer.input.weight[: self._H] if top else mixer.input.weight)
            if index:
                x = xz.view(M, T, -1)[:, :, : self._H]
                conv.append(self._last_inputs(x, state[:, index, :-1], lengths))
            x = self._convolve(index, xz, state[:, index, :-1], T)
            gates = F.linear(x, mixer.gates.weight, mixer.gates.bias).view(M, T, -1)
            h_before = state[:, index, -1].contiguous()
            steps, h_after = gated_scan(x.view(M, T, -1), gates, mixer.Lambda, h_before, lengths)
            h.append(h_after)
            if top:
                u = u[last]
                mixed = F.silu(F.linear(u, mixer.input.weight[self._H :])) * h_after
            else:
                mixed = self._gate(xz, steps.view(M * T, -1))
            u = self._mix(layer, F.linear(mixed, mixer.output.weight), u)
        return Replayed(u, torch.stack(h, dim=1), torch.stack(conv, dim=1) if conv else state[:, :0, :-1])

    def _embed(self, items: Tensor, types: Tensor | None) -> Tensor:
        """Return the first layer's inputs (N, D)."""
        norm, table, of_types = self._network.layer_norm, self._network.item_embedding, self._network.type_embedding
        if of_types is None:
            return self._norm(norm, table.weight, items, None)
        return self._norm(norm, table.weight, items, of_types.weight, items * 0 if types is None else types)

    def _mix(self, layer: RecurrentLayer, mixed: Tensor, u: Tensor) -> Tensor:
        """Apply residual, norm and feed-forward network."""
        y = self._norm(layer.layer_norm, mixed, None, u)
        inner = F.silu(F.linear(y, layer.ffn.w_1.weight, layer.ffn.w_1.bias), inplace=True)
        return self._norm(layer.ffn.layer_norm, F.linear(inner, layer.ffn.w_2.weight, layer.ffn.w_2.bias), None, y)

    def _norm(
        self,
        norm: nn.LayerNorm,
        x: Tensor,
        rows: Tensor | None,
        residual: Tensor | None,
        residual_rows: Tensor | None = None,
    ) -> Tensor:
        """Return LayerNorm(x + residual), or that of their rows."""
        N, block = len(x) if rows is None else len(rows), max(1, 2048 // self._DP)
        out = x.new_empty(N, self._D)
        norm_kernel[(-(-N // block),)](
            x, x if rows is None else rows, x if residual is None else residual,
            x if residual_rows is None else residual_rows, norm.weight, norm.bias, out, N,
            D=self._D, DP=self._DP, EPS=LAYER_NORM_EPS, GATHER=rows is not None,
            GATHER_RESIDUAL=residual_rows is not None, ROWS=block, num_warps=4,
        )  # fmt: skip
        return out

    def _convolve(self, index: int, xz: Tensor, before: Tensor, T: int) -> Tensor:
        """Return SiLU of the convolution of the first H columns of xz."""
        conv = self._layers[index].behavior_modeling.conv1d
        out, block = xz.new_empty(len(xz), self._H), max(1, 4096 // self._HP)
        conv_kernel[(len(before), -(-T // block))](
            xz, xz.stride(0), before, before.stride(0), self._taps[index], conv.bias, out, T,
            H=self._H, K=self._K, HP=self._HP, STEPS=block, num_warps=4,
        )  # fmt: skip
        return out

    def _gate(self, xz: Tensor, h: Tensor) -> Tensor:
        """Return SiLU(z) * h; z follows x in xz."""
        out, block, z = torch.empty_like(h), max(1, 4096 // self._HP), xz[:, self._H :]
        gate_kernel[(-(-len(h) // block),)](
            z, z.stride(0), h, out, len(h), H=self._H, HP=self._HP, ROWS=block, num_warps=4
        )
        return out

    def _last_inputs(self, x: Tensor, before: Tensor, lengths: Tensor) -> Tensor:
        """Return each user's last conv inputs (M, K - 1, H).

        Some are from before its first event.
        """
        taps = self._K - 1
        at = lengths[:, None] - taps + torch.arange(taps, device=x.device)
        user = torch.arange(len(x), device=x.device)[:, None]
        earlier = before[user, (at + taps).clamp(max=taps - 1)]
        return torch.where((at >= 0)[:, :, None], x[user, at.clamp(min=0)], earlier)
