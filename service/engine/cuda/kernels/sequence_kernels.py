"""Triton kernels between the matrix products of `sequence_forward`.

Each reads and writes its tensors once.

Axes: N = M * T events, T time, K conv taps, D model width, H channels. Tensors are float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

from model.ops.gated_scan.triton_kernels import sigmoid


@triton.jit
def conv_kernel(
    x_ptr,
    stride,
    before_ptr,
    before_stride,
    taps_ptr,
    bias_ptr,
    out_ptr,
    T,
    H: tl.constexpr,
    K: tl.constexpr,
    HP: tl.constexpr,
    STEPS: tl.constexpr,
):
    """SiLU of a causal depthwise convolution.

    x and out are (M, T, H), rows of x `stride` apart.

    before (M, K - 1, H), users `before_stride` apart: the inputs before the first step; taps (K, H).
    """
    user = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * STEPS + tl.arange(0, STEPS)
    c = tl.arange(0, HP)
    inside = (t < T)[:, None] & (c < H)[None, :]
    total = tl.zeros([STEPS, HP], tl.float32) + tl.load(bias_ptr + c, c < H, 0.0)[None, :]
    for k in tl.static_range(K):
        at = t - (K - 1) + k
        x = tl.load(x_ptr + (user * T + at)[:, None] * stride + c[None, :], inside & (at >= 0)[:, None], 0.0)
        earlier = before_ptr + user * before_stride + (at + K - 1)[:, None] * H + c[None, :]
        x += tl.load(earlier, inside & (at < 0)[:, None], 0.0)
        total += x * tl.load(taps_ptr + k * H + c, c < H, 0.0)[None, :]
    tl.store(out_ptr + (user * T + t)[:, None] * H + c[None, :], total * sigmoid(total), inside)


@triton.jit
def gate_kernel(z_ptr, stride, h_ptr, out_ptr, N, H: tl.constexpr, HP: tl.constexpr, ROWS: tl.constexpr):
    """Write silu(z) * h.

    z and h are (N, H), rows of z `stride` apart.
    """
    n = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, HP)
    inside = (n < N)[:, None] & (c < H)[None, :]
    z = tl.load(z_ptr + n[:, None] * stride + c[None, :], inside, 0.0)
    h = tl.load(h_ptr + n[:, None] * H + c[None, :], inside, 0.0)
    tl.store(out_ptr + n[:, None] * H + c[None, :], z * sigmoid(z) * h, inside)


@triton.jit
def norm_kernel(
    x_ptr,
    rows_ptr,
    residual_ptr,
    residual_rows_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    N,
    D: tl.constexpr,
    DP: tl.constexpr,
    EPS: tl.constexpr,
    GATHER: tl.constexpr,
    GATHER_RESIDUAL: tl.constexpr,
    ROWS: tl.constexpr,
):
    """LayerNorm of x + residual (N, D).

    If GATHER, it is that of rows `rows` (N,) of the table x, plus, if GATHER_RESIDUAL, rows `residual_rows` (N,) of
    the table residual.
    """
    n = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, DP)
    inside = (n < N)[:, None] & (d < D)[None, :]
    at = n[:, None] * D + d[None, :]
    if GATHER:
        row = tl.load(rows_ptr + n, n < N, 0).to(tl.int64)
        x = tl.load(x_ptr + row[:, None] * D + d[None, :], inside, 0.0)
        if GATHER_RESIDUAL:
            row = tl.load(residual_rows_ptr + n, n < N, 0).to(tl.int64)
            x += tl.load(residual_ptr + row[:, None] * D + d[None, :], inside, 0.0)
    else:
        x = tl.load(x_ptr + at, inside, 0.0) + tl.load(residual_ptr + at, inside, 0.0)
    mean = tl.sum(x, axis=1) / D
    rest = tl.where((d < D)[None, :], x - mean[:, None], 0.0)
    deviation = tl.sqrt(tl.sum(rest * rest, axis=1) / D + EPS)
    weight = tl.load(weight_ptr + d, d < D, 0.0)[None, :]
    normal = rest / deviation[:, None] * weight + tl.load(bias_ptr + d, d < D, 0.0)[None, :]
    tl.store(out_ptr + at, normal, inside)
