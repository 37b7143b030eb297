"""The network as compiled kernels: every user's pending items folded into their states (design section 2).

The events of all users stand in one column, user after user, and are worked through ROWS at a time: products take
these rows together, whosever they are, so weights are read once for four events; the conv and the recurrence walk the
rows in order and pick up each user's state where it stands. One user's step, a micro-batch and the rebuild of long
histories are the same code, and nothing is padded in time. The arithmetic stands in this file too: a kernel may call
those of its own module only (see `compiled`).

Axes: B users, N events, D model width, H channels, K conv taps, L layers; Dp, Hp, Fp as in `parameters`. float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.config import LAYER_NORM_EPS
from model.state_layout import F32
from service.engine.cpu.weights import PANEL
from service.engine.jit import kernel, reduction

Index = NDArray[np.int64]

# Sixteen rows of every intermediate are 80 KB at the default widths: they stay in a core's second-level cache beside
# the weights. A multiple of four, see `_product`.
ROWS = 16

_ONE, _TWO, _HALF = np.float32(1), np.float32(2), np.float32(0.5)
_EPS = np.float32(LAYER_NORM_EPS)
_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # their sum is ln 2; n * high is exact
_FAR = np.float32(87)  # exp(87) and exp(-87) are finite and not denormal
_BIAS = np.float32(128.5)
_C3, _C4, _C5, _C6, _C7 = (np.float32(1 / n) for n in (6, 24, 120, 720, 5040))


@kernel
def advance(
    embedding: F32,
    norm: F32,
    layers: F32,
    offsets: Index,
    widths: tuple[int, int, int, int, int, int],
    rows: Index,
    owners: Index,
    h: F32,
    conv: F32,
    output: F32,
) -> None:
    """Fold events into states, in place.

    rows (N,) embedding rows; owners (N,) whose each is, equal ones side by side; h (B, L, Hp), conv (B, L, K - 1, Hp)
    with the oldest input first; output (B, Dp), overwritten.
    """
    D, _, K, Dp, Hp, Fp = widths
    u, y = np.zeros((ROWS, Dp), np.float32), np.zeros((ROWS, Dp), np.float32)
    x, inner = np.zeros((ROWS, Hp), np.float32), np.zeros((ROWS, Fp), np.float32)
    entry, gates = np.zeros((ROWS, 2 * Hp), np.float32), np.zeros((ROWS, 2 * Hp), np.float32)
    sums, whose = np.empty(4 * PANEL, np.float32), np.empty(ROWS, np.int64)
    for start in range(0, len(rows), ROWS):
        n = min(ROWS, len(rows) - start)
        whose[:n] = owners[start : start + n]
        _look_up(embedding, norm, rows[start : start + n], u, D)
        for layer in range(len(layers)):
            part = layers[layer]
            _product(u, n, part[offsets[0] :], sums, entry)
            _convolve(entry, n, whose, layer, part[offsets[5] :], part[offsets[6] :], K, conv, x)
            _product(x, n, part[offsets[1] :], sums, gates)
            _recur(x, gates, entry, n, whose, layer, part[offsets[7] :], h)
            if layer + 1 == len(layers):  # nobody hears what the network would have said before a user's last event
                n = _keep_last(owners[start : start + n + 1], whose, n, x, u)
            _product(x, n, part[offsets[2] :], sums, y)
            for r in range(n):
                _add_norm(y[r], u[r], part[offsets[8] :], D)
            _product(y, n, part[offsets[3] :], sums, inner)
            for r in range(n):
                _silu(inner[r])
            _product(inner, n, part[offsets[4] :], sums, u)
            for r in range(n):
                _add_norm(u[r], y[r], part[offsets[9] :], D)
        for r in range(n):
            output[whose[r]] = u[r]


@kernel
def replay(
    embedding: F32,
    norm: F32,
    layers: F32,
    widths: tuple[int, int, int, int, int, int],
    recent: Index,
    conv: F32,
) -> None:
    """The first layer's conv inputs, conv[:, 0], from the last items; recent (B, K - 1), a row of -1 leaves them.

    The x half is the first half of the layer's first panels, and without the z half the product ends there.
    """
    D, _, _, Dp, Hp, _ = widths
    u, x = np.zeros((ROWS, Dp), np.float32), np.zeros((ROWS, Hp), np.float32)
    sums = np.empty(4 * PANEL, np.float32)
    rows = recent.reshape(-1)
    for start in range(0, len(rows), ROWS):
        n = min(ROWS, len(rows) - start)
        _look_up(embedding, norm, np.maximum(rows[start : start + n], 0), u, D)
        _product(u, n, layers[0], sums, x)
        for r in range(n):
            if rows[start + r] >= 0:
                user, k = divmod(start + r, recent.shape[1])
                conv[user, 0, k] = x[r]


@kernel
def _look_up(embedding: F32, norm: F32, rows: Index, u: F32, D: int) -> None:
    """u[r] = LayerNorm(embedding[rows[r]])."""
    nothing = np.zeros(u.shape[1], np.float32)
    for r in range(len(rows)):
        for d in range(D):
            u[r, d] = embedding[rows[r], d]
        for d in range(D, u.shape[1]):
            u[r, d] = nothing[d]
        _add_norm(u[r], nothing, norm.reshape(-1), D)


@kernel
def _product(x: F32, n: int, weights: F32, sums: F32, y: F32) -> None:
    """y[r] = bias + x[r] W for r < n: x (ROWS, in), y (ROWS, out), weights in panels.

    A panel's sums for four rows and four of its lines are a few vector registers, and each line that is loaded serves
    four rows. Two or three rows at the end go as four, the last ones of which nobody reads; a single row goes by
    itself, eight lines at a time.
    """
    r = 0
    while r < n:
        if n - r == 1:
            _product_of_one(x[r], weights, y[r])
        else:
            _product_of_four(x[r : r + 4], weights, sums, y[r : r + 4])
        r += 4


@kernel
def _product_of_four(x: F32, weights: F32, sums: F32, y: F32) -> None:
    # Loops run from zero over slices: an index that is not seen to be positive keeps a loop from being vectorised.
    width = x.shape[1]
    for panel in range(y.shape[1] // PANEL):
        begin = panel * (1 + width) * PANEL
        for r in range(4):
            sums[r * PANEL : (r + 1) * PANEL] = weights[begin : begin + PANEL]
        for i in range(0, width, 4):
            begin += 4 * PANEL
            lines = weights[begin - 3 * PANEL : begin + PANEL]
            a0, a1, a2, a3 = x[0, i], x[0, i + 1], x[0, i + 2], x[0, i + 3]
            b0, b1, b2, b3 = x[1, i], x[1, i + 1], x[1, i + 2], x[1, i + 3]
            c0, c1, c2, c3 = x[2, i], x[2, i + 1], x[2, i + 2], x[2, i + 3]
            d0, d1, d2, d3 = x[3, i], x[3, i + 1], x[3, i + 2], x[3, i + 3]
            for j in range(PANEL):
                w0, w1, w2, w3 = lines[j], lines[PANEL + j], lines[2 * PANEL + j], lines[3 * PANEL + j]
                sums[j] = sums[j] + a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                sums[PANEL + j] = sums[PANEL + j] + b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
                sums[2 * PANEL + j] = sums[2 * PANEL + j] + c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
                sums[3 * PANEL + j] = sums[3 * PANEL + j] + d0 * w0 + d1 * w1 + d2 * w2 + d3 * w3
        for r in range(4):
            y[r, panel * PANEL : (panel + 1) * PANEL] = sums[r * PANEL : (r + 1) * PANEL]


@kernel
def _product_of_one(x: F32, weights: F32, y: F32) -> None:
    width = len(x)
    for panel in range(len(y) // PANEL):
        begin = panel * (1 + width) * PANEL
        sums = y[panel * PANEL : (panel + 1) * PANEL]
        sums[:] = weights[begin : begin + PANEL]
        for i in range(0, width, 8):
            begin += 8 * PANEL
            lines = weights[begin - 7 * PANEL : begin + PANEL]
            a0, a1, a2, a3, a4, a5, a6, a7 = (
                x[i],
                x[i + 1],
                x[i + 2],
                x[i + 3],
                x[i + 4],
                x[i + 5],
                x[i + 6],
                x[i + 7],
            )
            for j in range(PANEL):
                # Two chains of four: one of eight would wait for itself.
                even = a0 * lines[j] + a2 * lines[2 * PANEL + j]
                even = even + a4 * lines[4 * PANEL + j] + a6 * lines[6 * PANEL + j]
                odd = a1 * lines[PANEL + j] + a3 * lines[3 * PANEL + j]
                odd = odd + a5 * lines[5 * PANEL + j] + a7 * lines[7 * PANEL + j]
                sums[j] += even + odd


@kernel
def _convolve(entry: F32, n: int, whose: Index, layer: int, taps: F32, bias: F32, K: int, conv: F32, x: F32) -> None:
    """x = SiLU(causal conv of the x half of entry), continuing each user's conv inputs, which move on."""
    Hp, first = x.shape[1], 0
    for r in range(n):
        if whose[r] != whose[first]:
            first = r
        for c in range(Hp):
            x[r, c] = bias[c]
        for k in range(K):
            source = r - (K - 1) + k
            if source >= first:
                _multiply_add(taps[k * Hp : (k + 1) * Hp], entry[source], x[r])
            else:
                _multiply_add(taps[k * Hp : (k + 1) * Hp], conv[whose[r], layer, K - 1 + source - first], x[r])
        _silu(x[r])
        if r + 1 == n or whose[r + 1] != whose[r]:
            past, new = conv[whose[r], layer], r + 1 - first
            for k in range(K - 1):  # oldest first, so what is read has not been overwritten
                if k + new < K - 1:
                    past[k] = past[k + new]
                else:
                    past[k] = entry[r - (K - 2) + k, :Hp]


@kernel
def _recur(x: F32, gates: F32, entry: F32, n: int, whose: Index, layer: int, softplus: F32, h: F32) -> None:
    """BD-LRU over the rows, h moving on; then x[r] = SiLU(z half of entry) * h."""
    Hp = x.shape[1]
    for r in range(n):
        now, out = h[whose[r], layer], x[r]
        forget, admit, z = gates[r, :Hp], gates[r, Hp:], entry[r, Hp:]
        for c in range(Hp):
            # a - 1, where a = exp(-softplus * r): with it 1 - a^2 = (1 - a) (1 + a) cancels nothing.
            less = _expm1(-softplus[c] * _sigmoid(forget[c]))
            b = np.sqrt(-less * (_TWO + less)) * _sigmoid(admit[c]) * out[c]
            now[c] = now[c] + less * now[c] + b
            out[c] = z[c] * _sigmoid(z[c]) * now[c]


@kernel
def _keep_last(owners: Index, whose: Index, n: int, x: F32, u: F32) -> int:
    """Of n rows, keep in front those that are their user's last, and say how many they are.

    owners: whose the rows are and, where it exists, the row after them.
    """
    kept = 0
    for r in range(n):
        if r + 1 == len(owners) or owners[r + 1] != owners[r]:
            if kept < r:
                x[kept], u[kept], whose[kept] = x[r], u[r], whose[r]
            kept += 1
    return kept


@kernel
def _multiply_add(a: F32, b: F32, total: F32) -> None:
    for c in range(len(total)):
        total[c] += a[c] * b[c]


@kernel
def _add_norm(x: F32, other: F32, norm: F32, D: int) -> None:
    """x = LayerNorm(x + other) over its first D entries, in place; norm: the weight, then the bias; padding: 0."""
    for d in range(len(x)):
        x[d] += other[d]
    mean = _sum(x, D) / np.float32(D)
    for d in range(D):
        x[d] -= mean
    scale = _ONE / np.sqrt(_sum_of_squares(x, D) / np.float32(D) + _EPS)
    for d in range(len(x)):
        x[d] = x[d] * scale * norm[d] + norm[len(x) + d]


@reduction
def _sum(x: F32, n: int) -> np.float32:
    total = np.float32(0)
    for i in range(n):
        total += x[i]
    return total


@reduction
def _sum_of_squares(x: F32, n: int) -> np.float32:
    total = np.float32(0)
    for i in range(n):
        total += x[i] * x[i]
    return total


@kernel
def _silu(x: F32) -> None:
    for c in range(len(x)):
        x[c] *= _sigmoid(x[c])


@kernel
def _sigmoid(x: np.float32) -> np.float32:
    return _ONE / (_TWO + _expm1(-x))


@kernel
def _expm1(x: np.float32) -> np.float32:
    """exp(x) - 1 to float32 rounding relative to itself; x beyond +-87 counts as +-87. No call, so loops vectorise.

    x = n ln 2 + r with |r| <= ln 2 / 2; exp(x) - 1 = 2^n (exp(r) - 1) + (2^n - 1), where 2^n is made from bits.
    """
    x = min(max(x, -_FAR), _FAR)
    n = np.int32(x * _LOG2_E + _BIAS) - np.int32(128)  # the sum is positive: cutting it off rounds x / ln 2
    r = x - np.float32(n) * _LN2_HIGH
    r = r - np.float32(n) * _LN2_LOW
    series = _C3 + r * (_C4 + r * (_C5 + r * (_C6 + r * _C7)))
    series = r + r * r * (_HALF + r * series)
    power = np.int32((n + 127) << 23).view(np.float32)
    return power * series + (power - _ONE)
