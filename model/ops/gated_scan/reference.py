"""The specification of the gated scan: the paper's equations, one time step after the other.

    a_t = exp(-softplus(Lambda) * sigmoid(r_t))
    h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * sigmoid(i_t) * x_t          (Liu et al. 2024, BD-LRU)

Axes: B batch, T time, H channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Below it 1 - a^2 counts as this much: the square root's slope at 0 is infinite, and times 0 no number. Training does
# go there, at Lambda = -86.
SMALLEST = 1e-37


def decay(r: Tensor, Lambda: Tensor) -> tuple[Tensor, Tensor]:
    """`a` and `sqrt(1 - a^2)` for gate pre-activations `r` (..., H) and `Lambda` (H,).

    1 - a^2 cancels for a near 1, so it is computed as -expm1(2 log a).
    """
    log_a = -F.softplus(Lambda) * torch.sigmoid(r)
    return torch.exp(log_a), torch.sqrt((-torch.expm1(2 * log_a)).clamp(min=SMALLEST))


def gated_scan_reference(
    x: Tensor,
    gates: Tensor,
    Lambda: Tensor,
    initial: Tensor,
    lengths: Tensor | None = None,
    starts: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """h at every step, and the final h.

    x (B, T, H); gates (B, T, 2H), r then i, before their sigmoids; Lambda (H,); initial (B, H); lengths (B,) whole
    numbers, None meaning T; starts (B, T) bool, True where another history begins, with h = 0 before it. Any
    floating dtype; the arithmetic is float32, or float64 where the inputs are.
    Returns h (B, T, H) and final (B, H), which is h after each sequence's last valid step. Steps at or after
    `lengths` leave h as it is and take no gradient.
    """
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    x, gates, Lambda, h = x.to(kind), gates.to(kind), Lambda.to(kind), initial.to(kind)
    r, i = gates.chunk(2, dim=-1)
    a, scale = decay(r, Lambda)
    b = scale * torch.sigmoid(i) * x
    if starts is not None:
        a = torch.where(starts[:, :, None], 0.0, a)
    steps = []
    # Unbound, not indexed: the gradient of a[:, t] is a whole (B, T, H) of zeros but for one step, T times over.
    for t, (a_t, b_t) in enumerate(zip(a.unbind(1), b.unbind(1), strict=True)):
        following = a_t * h + b_t
        h = following if lengths is None else torch.where((t < lengths)[:, None], following, h)
        steps.append(h)
    return torch.stack(steps, dim=1), h
