"""Kernels of the gated scan on a CPU, in float32.

See reference.py for the equations. Axes: B batch, T time, H channels. The channels of one step are vectorised. A
kernel takes rows `first` to `last` of the batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from model.compiled.array_types import F32
from model.compiled.elementary_functions import ONE, TWO, expm1, sigmoid
from model.compiled.jit import kernel
from model.ops.gated_scan.reference import MIN_GATE

_MIN_GATE, _ZERO = np.float32(MIN_GATE), np.float32(0)


@kernel
def forward(
    x: F32, gates: F32, rate: F32, initial: F32, lengths: Any, starts: Any, h: F32, last_h: F32, first: int, last: int
) -> None:
    """Write h (B, T, H) and last_h (B, H).

    rate is softplus(Lambda) (H,), lengths are (B,), starts (B, T) bool.
    """
    T, H = x.shape[1], x.shape[2]
    state = np.empty(H, np.float32)
    for b in range(first, last):
        state[:] = initial[b]
        for t in range(T):
            if t < lengths[b]:
                if starts[b, t]:
                    state[:] = _ZERO
                inputs, gate, out = x[b, t], gates[b, t], h[b, t]
                for c in range(H):
                    change = expm1(-rate[c] * sigmoid(gate[c]))  # a - 1; 1 - a^2 keeps its digits for a near 1
                    scale = np.sqrt(max(-change * (change + TWO), _MIN_GATE))
                    value = (change + ONE) * state[c] + scale * sigmoid(gate[H + c]) * inputs[c]
                    state[c] = value
                    out[c] = value
            else:
                h[b, t] = state
        last_h[b] = state


@kernel
def backward(
    x: F32,
    gates: F32,
    rate: F32,
    initial: F32,
    lengths: Any,
    starts: Any,
    h: F32,
    dh: F32,
    dlast_h: F32,
    dx: F32,
    dgates: F32,
    drate: F32,
    dinitial: F32,
    first: int,
    last: int,
) -> None:
    """Write dx, dgates, drate (B, H) and dinitial.

    dh and dlast_h are the gradients of h and last_h. a and the gates are computed again, which takes less time than
    reading them. drate must be zero before.
    """
    T, H = x.shape[1], x.shape[2]
    carry = np.empty(H, np.float32)
    for b in range(first, last):
        carry[:] = dlast_h[b]
        own_drate = drate[b]
        for t in range(T - 1, -1, -1):
            upstream, out, gate_out = dh[b, t], dx[b, t], dgates[b, t]
            if t >= lengths[b]:
                for c in range(H):
                    carry[c] += upstream[c]
                out[:] = _ZERO
                gate_out[:] = _ZERO
                continue
            kept = _ZERO if starts[b, t] else ONE
            before = initial[b] if t == 0 else h[b, t - 1]
            inputs, gate = x[b, t], gates[b, t]
            for c in range(H):
                r, i = sigmoid(gate[c]), sigmoid(gate[H + c])
                change = expm1(-rate[c] * r)
                a, square = change + ONE, -change * (change + TWO)
                scale = np.sqrt(max(square, _MIN_GATE))
                g = carry[c] + upstream[c]
                # d sqrt(1 - a^2) / d log a = -a^2 / sqrt(1 - a^2); the bound has no slope
                slope = a * a / scale if square > _MIN_GATE else _ZERO
                dlog_a = kept * a * g * before[c] - g * i * inputs[c] * slope
                own_drate[c] -= r * dlog_a
                gate_out[c] = -rate[c] * dlog_a * r * (ONE - r)
                gate_out[H + c] = g * scale * inputs[c] * i * (ONE - i)
                out[c] = g * scale * i
                carry[c] = kept * a * g
        dinitial[b] = carry
