"""Kernels along time: the causal convolution and the BD-LRU recurrence.

Rows are events; `users` holds the user of each row, and the rows of one user are adjacent, oldest first.
"""

from __future__ import annotations

import numpy as np

from model.compiled.array_types import F32, I64
from model.compiled.elementary_functions import TWO, expm1, sigmoid
from model.compiled.jit import kernel
from service.engine.cpu.elementwise_kernels import silu


@kernel
def convolve(projected: F32, n: int, users: I64, layer: int, taps: F32, bias: F32, K: int, conv: F32, x: F32) -> None:
    """Set x = SiLU(causal conv), and advance each user's conv inputs.

    The convolution's inputs are the x half of projected.
    """
    Hp, first = x.shape[1], 0
    for r in range(n):
        if users[r] != users[first]:
            first = r
        for c in range(Hp):
            x[r, c] = bias[c]
        for k in range(K):
            source = r - (K - 1) + k
            if source >= first:
                _multiply_add(taps[k * Hp : (k + 1) * Hp], projected[source], x[r])
            else:
                _multiply_add(taps[k * Hp : (k + 1) * Hp], conv[users[r], layer, K - 1 + source - first], x[r])
        silu(x[r])
        if r + 1 == n or users[r + 1] != users[r]:
            past, new = conv[users[r], layer], r + 1 - first
            for k in range(K - 1):  # oldest first, so no input is overwritten before it is read
                if k + new < K - 1:
                    past[k] = past[k + new]
                else:
                    past[k] = projected[r - (K - 2) + k, :Hp]


@kernel
def recur(x: F32, gates: F32, projected: F32, n: int, users: I64, layer: int, softplus: F32, h: F32) -> None:
    """Advance h by BD-LRU, and set x = SiLU(z) * h.

    z is the second half of projected.
    """
    Hp = x.shape[1]
    for r in range(n):
        now, out = h[users[r], layer], x[r]
        forget, admit, z = gates[r, :Hp], gates[r, Hp:], projected[r, Hp:]
        for c in range(Hp):
            # a - 1 with a = exp(-softplus * r), because 1 - a^2 = (1 - a) (1 + a) then loses no digits for a near 1.
            less = expm1(-softplus[c] * sigmoid(forget[c]))
            b = np.sqrt(-less * (TWO + less)) * sigmoid(admit[c]) * out[c]
            now[c] = now[c] + less * now[c] + b
            out[c] = z[c] * sigmoid(z[c]) * now[c]


@kernel
def keep_last_rows(owners: I64, users: I64, n: int, x: F32, u: F32) -> int:
    """Move each user's last row to the front; return their number.

    owners holds the users of the n rows and, if there is one, of the row after them.
    """
    kept = 0
    for r in range(n):
        if r + 1 == len(owners) or owners[r + 1] != owners[r]:
            if kept < r:
                x[kept], u[kept], users[kept] = x[r], u[r], users[r]
            kept += 1
    return kept


@kernel
def _multiply_add(a: F32, b: F32, total: F32) -> None:
    for c in range(len(total)):
        total[c] += a[c] * b[c]
