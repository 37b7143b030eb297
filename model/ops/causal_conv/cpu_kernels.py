"""Kernels of the causal convolution on a CPU, in float32.

See reference.py. Axes: B batch, T time, H channels, K taps. A kernel takes rows `first` to `last` of the batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from model.compiled.array_types import F32
from model.compiled.elementary_functions import ONE, sigmoid
from model.compiled.jit import kernel


@kernel
def _convolve(inputs: F32, taps: F32, bias: F32, valid: int, total: F32) -> None:
    """Write one step's sums (H,).

    Only the newest `valid` of the inputs (K, H) count.
    """
    total[:] = bias
    K = len(taps)
    for k in range(max(0, K - valid), K):
        row, tap = inputs[k], taps[k]
        for c in range(len(total)):
            total[c] += tap[c] * row[c]


@kernel
def forward(inputs: F32, taps: F32, bias: F32, position: Any, outputs: F32, first: int, last: int) -> None:
    """Write outputs (B, T, H).

    taps are (K, H), position (B, T) as in the reference.
    """
    K, T, H = len(taps), outputs.shape[1], outputs.shape[2]
    total = np.empty(H, np.float32)
    for b in range(first, last):
        for t in range(T):
            _convolve(inputs[b, t : t + K], taps, bias, position[b, t] + 1, total)
            out = outputs[b, t]
            for c in range(H):
                out[c] = total[c] * sigmoid(total[c])


@kernel
def backward(
    inputs: F32,
    taps: F32,
    bias: F32,
    position: Any,
    doutputs: F32,
    dinputs: F32,
    dtaps: F32,
    dbias: F32,
    first: int,
    last: int,
) -> None:
    """Add the gradients to dinputs, dtaps and dbias.

    dtaps is (B, K, H), dbias (B, H).

    They must be zero before. The sums of the convolution are computed again.
    """
    K, T, H = len(taps), doutputs.shape[1], doutputs.shape[2]
    total = np.empty(H, np.float32)
    for b in range(first, last):
        own_dbias = dbias[b]
        for t in range(T):
            valid = position[b, t] + 1
            _convolve(inputs[b, t : t + K], taps, bias, valid, total)
            upstream = doutputs[b, t]
            for c in range(H):
                s = sigmoid(total[c])
                total[c] = upstream[c] * s * (ONE + total[c] * (ONE - s))
                own_dbias[c] += total[c]
            for k in range(max(0, K - valid), K):
                row, out, tap, own_dtap = inputs[b, t + k], dinputs[b, t + k], taps[k], dtaps[b, k]
                for c in range(H):
                    out[c] += tap[c] * total[c]
                    own_dtap[c] += row[c] * total[c]
