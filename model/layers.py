"""Layers of RecBLR (Liu et al. 2024).

Attribute names are the parameter names of the published code.

Axes: B batch, T time, D model width, H = E * D channels of the recurrence, K conv taps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import LAYER_NORM_EPS, ModelConfig
from model.ops.causal_conv.dispatch import causal_conv
from model.ops.gated_scan.dispatch import gated_scan
from model.ops.gated_scan.reference import decay

# Position before any start: further back than a convolution reaches.
_LONG_AGO = -(1 << 30)


@dataclass(frozen=True, slots=True)
class Segments:
    """Boundaries of the histories in the rows of a batch.

    lengths   (B,) valid steps of each row, padded on the right; None: all T
    starts    (B, T) bool, True where another history begins inside a row; None: nowhere
    position  (B, T) integers, steps since the last start (large before the first); None without starts
    """

    lengths: Tensor | None = None
    starts: Tensor | None = None
    position: Tensor | None = None

    @classmethod
    def of(cls, lengths: Tensor | None, starts: Tensor | None) -> Segments:
        """Return segments with the positions that follow from `starts`."""
        if starts is None:
            return cls(lengths)
        t = torch.arange(starts.shape[1], device=starts.device)
        last = torch.where(starts, t, _LONG_AGO).cummax(dim=1).values
        return cls(lengths, starts, t - last)


class BehaviorModeling(nn.Module):
    """Gated linear recurrence between two projections (paper section 3.3)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, H, K = config.dim, config.hidden, config.conv_width
        self.input = nn.Linear(D, 2 * H, bias=False)
        self.conv1d = nn.Conv1d(H, H, K, groups=H)
        self.gates = nn.Linear(H, 2 * H)
        # exp(-softplus(Lambda)) spans [0.9, 0.999]; the inverse of softplus(v) = s is log(expm1(s)).
        low, high = (math.log(math.expm1(-math.log(a))) for a in (0.9, 0.999))
        self.Lambda = nn.Parameter(torch.linspace(low, high, H))
        self.output = nn.Linear(H, D, bias=False)

    def forward(self, u: Tensor, state: Tensor, segments: Segments) -> tuple[Tensor, Tensor]:
        """Return output (B, T, D) and state (B, K, H).

        u is (B, T, D), state (B, K, H).
        """
        x, z = self.input(u).chunk(2, dim=-1)
        inputs = torch.cat([state[:, :-1].to(x.dtype), x], dim=1)  # (B, K - 1 + T, H)
        assert self.conv1d.bias is not None  # noqa: S101 - the constructor makes it
        x = causal_conv(inputs, self.conv1d.weight[:, 0], self.conv1d.bias, segments.position).to(z.dtype)
        h, last_h = gated_scan(x, self.gates(x), self.Lambda, state[:, -1], segments.lengths, segments.starts)
        y = self.output(F.silu(z) * h)
        conv_state = _last_inputs(inputs, state.shape[1] - 1, segments.lengths)
        return y, torch.cat([conv_state, last_h[:, None]], dim=1)

    def step(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return output (B, D) and state after one event.

        u is (B, D), state (B, K, H).
        """
        x, z = self.input(u).chunk(2, dim=-1)
        inputs = torch.cat([state[:, :-1], x[:, None]], dim=1)  # (B, K, H)
        assert self.conv1d.bias is not None  # noqa: S101 - the constructor makes it
        x = F.silu((inputs * self.conv1d.weight[:, 0].T).sum(dim=1) + self.conv1d.bias)
        r, i = self.gates(x).chunk(2, dim=-1)
        a, scale = decay(r, self.Lambda)
        h = a * state[:, -1] + scale * torch.sigmoid(i) * x
        return self.output(F.silu(z) * h), torch.cat([inputs[:, 1:], h[:, None]], dim=1)


def _last_inputs(inputs: Tensor, count: int, lengths: Tensor | None) -> Tensor:
    """Return the last `count` valid rows of `inputs`.

    The result is float32, or float64 for float64 inputs.
    """
    kind = torch.float64 if inputs.dtype == torch.float64 else torch.float32
    if lengths is None:
        return inputs[:, inputs.shape[1] - count :].to(kind)
    index = lengths[:, None] + torch.arange(count, device=inputs.device)
    return inputs.gather(1, index[:, :, None].expand(-1, -1, inputs.shape[2])).to(kind)


class FeedForward(nn.Module):
    """Position-wise feed-forward network with residual and norm (paper section 3.4)."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.w_1 = nn.Linear(config.dim, 4 * config.dim)
        self.w_2 = nn.Linear(4 * config.dim, config.dim)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPS)

    def forward(self, y: Tensor) -> Tensor:
        """Map y (..., D) to (..., D)."""
        inner = self.dropout(F.silu(self.w_1(y)))
        out: Tensor = self.layer_norm(self.dropout(self.w_2(inner)) + y)
        return out


class RecurrentLayer(nn.Module):
    """One layer: recurrence, residual and norm, feed-forward network."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.behavior_modeling = BehaviorModeling(config)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(config.dim, eps=LAYER_NORM_EPS)
        self.ffn = FeedForward(config, dropout)

    def forward(self, u: Tensor, state: Tensor, segments: Segments) -> tuple[Tensor, Tensor]:
        """Return the next layer's u, and the state.

        u is (B, T, D), state (B, K, H).
        """
        out, state = self.behavior_modeling(u, state, segments)
        return self._mix(out, u), state

    def step(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next layer's u, and the state, after one event.

        u is (B, D), state (B, K, H).
        """
        out, state = self.behavior_modeling.step(u, state)
        return self._mix(out, u), state

    def _mix(self, out: Tensor, u: Tensor) -> Tensor:
        mixed: Tensor = self.ffn(self.layer_norm(self.dropout(out) + u))
        return mixed
