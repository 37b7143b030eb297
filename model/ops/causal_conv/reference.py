"""Reference of the causal convolution and its SiLU.

Liu et al. 2024, section 3.3:

    v_t = bias + sum over k of weight_k * x_{t - K + 1 + k}
    y_t = v_t * sigmoid(v_t)

Axes: B batch, T time, H channels, K taps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def causal_conv_reference(inputs: Tensor, weight: Tensor, bias: Tensor, position: Tensor | None = None) -> Tensor:
    """Convolve inputs channel by channel, and apply SiLU.

    Args:
        inputs: K - 1 earlier inputs, then those of the steps (B, K - 1 + T, H).
        weight: taps (H, K), the newest input's last.
        bias: (H,).
        position: steps since a history began inside the row (B, T); inputs before that count as zero. None: nowhere.

    Returns:
        (B, T, H).
    """
    K = weight.shape[1]
    T = inputs.shape[1] - K + 1
    total = bias
    for k in range(K):
        tap = inputs[:, k : k + T] * weight[:, k]
        if position is not None and k < K - 1:
            tap = torch.where((position >= K - 1 - k)[:, :, None], tap, 0.0)
        total = total + tap
    return F.silu(total)
