"""Reference of the gated scan: the paper's equations, step by step.

    a_t = exp(-softplus(Lambda) * sigmoid(r_t))
    h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * sigmoid(i_t) * x_t          (Liu et al. 2024, BD-LRU)

Axes: B batch, T time, H channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Lower bound of 1 - a^2 (decision 0045): the slope of the square root at 0 is infinite, so a gradient would be NaN.
# Training reaches it at Lambda = -86.
MIN_GATE = 1e-37


def decay(r: Tensor, Lambda: Tensor) -> tuple[Tensor, Tensor]:
    """Return a and sqrt(1 - a^2).

    r (..., H) are pre-activations, Lambda is (H,).

    1 - a^2 would lose digits for a near 1, so it is computed as -expm1(2 log a).
    """
    log_a = -F.softplus(Lambda) * torch.sigmoid(r)
    return torch.exp(log_a), torch.sqrt((-torch.expm1(2 * log_a)).clamp(min=MIN_GATE))


def gated_scan_reference(
    x: Tensor,
    gates: Tensor,
    Lambda: Tensor,
    initial: Tensor,
    lengths: Tensor | None = None,
    starts: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return h at every step, and h after the last one.

    The arithmetic is float32, or float64 for float64 inputs.

    Args:
        x: inputs (B, T, H) of any floating dtype.
        gates: pre-activations (B, T, 2H), r then i.
        Lambda: decay parameter (H,).
        initial: h before the first step (B, H).
        lengths: valid steps of each sequence (B,); None: T. Later steps leave h as it is and take no gradient.
        starts: (B, T) bool, True where another history begins, with h = 0 before it.

    Returns:
        h (B, T, H), and h after each sequence's last valid step (B, H).
    """
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    x, gates, Lambda, h = x.to(kind), gates.to(kind), Lambda.to(kind), initial.to(kind)
    r, i = gates.chunk(2, dim=-1)
    a, scale = decay(r, Lambda)
    b = scale * torch.sigmoid(i) * x
    if starts is not None:
        a = torch.where(starts[:, :, None], 0.0, a)
    steps = []
    # Unbound instead of indexed, because the gradient of each a[:, t] would be a full (B, T, H) tensor.
    for t, (a_t, b_t) in enumerate(zip(a.unbind(1), b.unbind(1), strict=True)):
        following = a_t * h + b_t
        h = following if lengths is None else torch.where((t < lengths)[:, None], following, h)
        steps.append(h)
    return torch.stack(steps, dim=1), h
