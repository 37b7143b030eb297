"""Triton kernel that replays one event of each user.

States are packed.

The arithmetic is that of `model.layers` (design section 2) in float32. A program owns USERS users and reads every
weight once. Sums are added in an order that does not depend on the batch.

Axes: M users of a program, L layers, K conv taps, D model width, H channels. Widths are padded to powers of two.
"""

from __future__ import annotations

import triton
import triton.language as tl

from model.ops.gated_scan.triton_kernels import decay, sigmoid
from service.engine.cuda.kernels.state_access import (
    bottom_inputs,
    check_states,
    copy_numbers,
    copy_rows,
    last_rows,
    last_types,
    store_types,
    upper_inputs,
)


@triton.jit
def product(x_ptr, stride, w_ptr, rows: tl.constexpr, columns: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
            BLOCK: tl.constexpr):  # fmt: skip
    """Return x (M, rows) times a weight matrix (rows, columns).

    Lines of x are `stride` apart in memory. The result (M, N) is zero beyond `columns`.
    """
    m = tl.arange(0, M)
    n = tl.arange(0, N)
    r = tl.arange(0, BLOCK)
    total = tl.zeros([M, BLOCK, N], tl.float32)
    for first in range(0, rows, BLOCK):
        row = first + r
        x = tl.load(x_ptr + m[:, None] * stride + row[None, :], (row < rows)[None, :], 0.0)
        w = tl.load(w_ptr + row[:, None] * columns + n[None, :], (row < rows)[:, None] & (n < columns)[None, :], 0.0)
        total += x[:, :, None] * w[None, :, :]
    return tl.sum(total, axis=1)


@triton.jit
def normalized(x, weight_ptr, bias_ptr, columns: tl.constexpr, N: tl.constexpr, EPS: tl.constexpr):
    """LayerNorm of the first `columns` columns of x (M, N)."""
    n = tl.arange(0, N)
    inside = n < columns
    mean = tl.sum(tl.where(inside[None, :], x, 0.0), axis=1) / columns
    rest = tl.where(inside[None, :], x - mean[:, None], 0.0)
    deviation = tl.sqrt(tl.sum(rest * rest, axis=1) / columns + EPS)
    weight = tl.load(weight_ptr + n, inside, 0.0)
    return rest / deviation[:, None] * weight[None, :] + tl.load(bias_ptr + n, inside, 0.0)[None, :]


@triton.jit
def share(pointer, value, inside):
    """Write to memory that all threads read next.

    They must have finished reading what it held.
    """
    tl.debug_barrier()
    tl.store(pointer, value, inside)
    tl.debug_barrier()


@triton.jit
def recurrence(x, w, numbers_ptr, results_ptr, at, out_at, here, moved, x_line, stride, H: tl.constexpr,
               HP: tl.constexpr, USERS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Return the next h (M, HP) of BD-LRU and store it.

    x (M, HP) is also in the scratch, at `x_line`.
    """
    c = tl.arange(0, HP)
    r = product(x_line, stride, w, H, H, USERS, HP, BLOCK)
    i = product(x_line, stride, w + H * H, H, H, USERS, HP, BLOCK)
    w += 2 * H * H
    r += tl.load(w + c, c < H, 0.0)[None, :]
    i += tl.load(w + H + c, c < H, 0.0)[None, :]
    a, scale, _, _ = decay(r, tl.load(w + 2 * H + c, c < H, 0.0)[None, :])
    h = tl.load(numbers_ptr + at[:, None] + c[None, :], (c < H)[None, :] & here[:, None], 0.0)
    h = a * h + scale * sigmoid(i) * x
    tl.store(results_ptr + out_at[:, None] + c[None, :], h, (c < H)[None, :] & moved[:, None])
    return h


@triton.jit
def feed_forward(y, w, scratch_ptr, stride, D: tl.constexpr, DP: tl.constexpr, HP: tl.constexpr, FP: tl.constexpr,
                 EPS: tl.constexpr, USERS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Position-wise feed-forward network with residual and norm.

    y and the result are (M, DP); the result is also left in the scratch.
    """
    d = tl.arange(0, DP)
    f = tl.arange(0, FP)
    ours = scratch_ptr + tl.arange(0, USERS)[:, None] * stride
    share(ours + DP + d[None, :], y, (d < DP)[None, :])
    inner = product(scratch_ptr + DP, stride, w, D, 4 * D, USERS, FP, BLOCK)
    inner += tl.load(w + 4 * D * D + f, f < 4 * D, 0.0)[None, :]
    share(ours + 2 * DP + HP + f[None, :], inner * sigmoid(inner), (f < FP)[None, :])
    w += 4 * D * D + 4 * D
    u = product(scratch_ptr + 2 * DP + HP, stride, w, 4 * D, D, USERS, DP, BLOCK) + y
    w += 4 * D * D
    u = normalized(u + tl.load(w + d, d < D, 0.0)[None, :], w + D, w + 2 * D, D, DP, EPS)
    share(ours + DP + d[None, :], u, (d < DP)[None, :])
    return u


@triton.jit(
    do_not_specialize=["users", "items", "types"],
    do_not_specialize_on_alignment=[
        "start_ptr",
        "end_ptr",
        "new_row_ptr",
        "new_type_ptr",
        "out_start_ptr",
        "out_end_ptr",
        "valid_ptr",
    ],
)
def step_kernel(
    words_ptr, start_ptr, end_ptr, new_row_ptr, new_type_ptr, out_start_ptr, out_end_ptr, out_ptr, valid_ptr,
    output_ptr, scratch_ptr, table_ptr, types_ptr, norm_ptr, weights_ptr, initial_conv_ptr, users, items, types,
    D: tl.constexpr, H: tl.constexpr, K: tl.constexpr, L: tl.constexpr, DP: tl.constexpr, HP: tl.constexpr,
    FP: tl.constexpr, KP: tl.constexpr, EPS: tl.constexpr, TYPED: tl.constexpr, USERS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Advance each user m by one event.

    The event is row new_row[m] of type new_type[m]; row 0 is none.

    The state is words[start[m] : end[m]], the next one out[out_start[m] : out_end[m]].

    Writes also whether the state was valid, valid (M,), and the network's output, output (M, D).
    """
    numbers: tl.constexpr = D + L * H + (L - 1) * (K - 1) * H
    floats: tl.constexpr = numbers + (K - 1) * TYPED
    m = tl.program_id(0) * USERS + tl.arange(0, USERS)
    here = m < users
    start = tl.load(start_ptr + m, here, 0)
    end = tl.load(end_ptr + m, here, 0)
    new_row = tl.load(new_row_ptr + m, here, 0)
    out_start = tl.load(out_start_ptr + m, here, 0)
    out_end = tl.load(out_end_ptr + m, here, 0)
    moved = here & (new_row > 0)
    tl.store(
        valid_ptr + m, check_states(words_ptr, start, end, numbers, floats, items, types, USERS).to(tl.int32), here
    )
    copy_rows(words_ptr, out_ptr, start, end, new_row, out_start, out_end, floats)
    copy_numbers(words_ptr, out_ptr, start, out_start, here & (new_row == 0) & (end > start), floats)
    numbers_ptr = words_ptr.to(tl.pointer_type(tl.float32), bitcast=True)
    results_ptr = out_ptr.to(tl.pointer_type(tl.float32), bitcast=True)
    d = tl.arange(0, DP)
    c = tl.arange(0, HP)
    k = tl.arange(0, KP)
    # A line of the scratch for each of the last K items: its embedding, u, channels, the inner width.
    line_width: tl.constexpr = 2 * DP + HP + FP
    stride: tl.constexpr = KP * line_width
    scratch_ptr += tl.program_id(0).to(tl.int64) * (USERS * stride)
    ours = scratch_ptr + tl.arange(0, USERS)[:, None] * stride
    lines = scratch_ptr + tl.arange(0, USERS * KP)[:, None] * line_width
    row = last_rows(words_ptr, start_ptr, end_ptr, new_row_ptr, users, floats, items, K, KP, USERS)
    value = tl.load(table_ptr + row[:, None] * D + d[None, :], (d < D)[None, :], 0.0)
    if TYPED:
        kind = last_types(words_ptr, start_ptr, new_type_ptr, users, numbers, types, K, KP, USERS)
        value += tl.load(types_ptr + kind[:, None] * D + d[None, :], (d < D)[None, :], 0.0)
        store_types(kind, out_ptr, out_start, moved, numbers, K, KP, USERS)
    share(lines + d[None, :], normalized(value, norm_ptr, norm_ptr + D, D, DP, EPS), (d < DP)[None, :])
    u = tl.load(ours + (K - 1) * line_width + d[None, :])
    x_line = scratch_ptr + 2 * DP
    for layer in tl.static_range(L):
        w = weights_ptr + layer * (2 * D * H + K * H + 4 * H + 2 * H * H + H * D + 8 * D * D + 9 * D)
        if layer == 0:
            u_line = scratch_ptr + (K - 1) * line_width
            x = product(scratch_ptr, line_width, w, D, H, USERS * KP, HP, BLOCK)
            known = tl.maximum(end - start - floats, 0)
            inputs = bottom_inputs(tl.reshape(x, [USERS, KP, HP]), initial_conv_ptr, known, here, K, H, KP, HP)
        else:
            u_line = scratch_ptr + DP
            x = product(u_line, stride, w, D, H, USERS, HP, BLOCK)
            at = D + L * H + (layer - 1) * (K - 1) * H
            inputs = upper_inputs(x, numbers_ptr, results_ptr, start + at, out_start + at, here, moved, K, H, KP, HP)
        w += D * H
        z = product(u_line, stride, w, D, H, USERS, HP, BLOCK)
        w += D * H
        taps = tl.load(w + k[:, None] * H + c[None, :], (k < K)[:, None] & (c < H)[None, :], 0.0)
        w += K * H
        x = tl.sum(inputs * taps[None, :, :], axis=1) + tl.load(w + c, c < H, 0.0)[None, :]
        x = x * sigmoid(x)
        w += H
        share(ours + 2 * DP + c[None, :], x, (c < HP)[None, :])
        at = D + layer * H
        h = recurrence(x, w, numbers_ptr, results_ptr, start + at, out_start + at, here, moved, x_line, stride, H, HP,
                       USERS, BLOCK)  # fmt: skip
        w += 2 * H * H + 3 * H
        share(ours + 2 * DP + c[None, :], z * sigmoid(z) * h, (c < HP)[None, :])
        y = product(x_line, stride, w, H, D, USERS, DP, BLOCK) + u
        w += H * D
        y = normalized(y, w, w + D, D, DP, EPS)
        u = feed_forward(y, w + 2 * D, scratch_ptr, stride, D, DP, HP, FP, EPS, USERS, BLOCK)
    inside = (d < D)[None, :]
    before = tl.load(numbers_ptr + start[:, None] + d[None, :], inside & here[:, None], 0.0)
    tl.store(results_ptr + out_start[:, None] + d[None, :], u, inside & moved[:, None])
    tl.store(output_ptr + m[:, None] * D + d[None, :], tl.where(moved[:, None], u, before), inside & here[:, None])
