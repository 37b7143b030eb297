"""Triton kernels of the top-k search's second pass.

They score the rows of candidate groups exactly and order them; see `topk_search`.

Axes: Q queries, V rows of the table, D its width; groups of 32 consecutive rows.
"""

from __future__ import annotations

import triton
import triton.language as tl

GROUP = tl.constexpr(32)


@triton.jit
def ordered(value):
    """Map float32 to int32 of the same order; both zeros become 0."""
    bits = tl.where(value == 0.0, 0.0, value).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def row_scores(table_ptr, vector_ptr, rows, inside, D: tl.constexpr, LOG_LANES: tl.constexpr, ROWS: tl.constexpr):
    """Return exact products of a query and some rows.

    Each is added up in the order of PyTorch's `(table[rows] * vector).sum(dim=-1)`: a lane adds every LANES-th
    product, in four sums, then the upper half of the lanes is added to the lower until one is left. Launch with
    enable_fp_fusion=False, so that products are rounded first.
    """
    LANES: tl.constexpr = 1 << LOG_LANES
    lane = tl.arange(0, LANES)
    total = tl.zeros([ROWS, LANES], tl.float32)
    for part in tl.static_range(4):
        sums = tl.zeros([ROWS, LANES], tl.float32)
        for start in tl.static_range(part * LANES, D, 4 * LANES):
            d = start + lane
            value = tl.load(table_ptr + rows[:, None] * D + d[None, :], inside[:, None] & (d < D)[None, :], 0.0)
            sums += value * tl.load(vector_ptr + d, d < D, 0.0)[None, :]
        total += sums
    for n in tl.static_range(LOG_LANES):
        total = tl.sum(tl.reshape(total, [ROWS, 2, LANES >> (n + 1)]), axis=1)
    return tl.reshape(total, [ROWS])


@triton.jit
def rescore_kernel(
    table_ptr,
    vectors_ptr,
    stride,
    blocked_ptr,
    allowed_ptr,
    filter_ptr,
    counters_ptr,
    candidates_ptr,
    keys_ptr,
    table_rows,
    width,
    room,
    BLOCKED: tl.constexpr,
    FILTERED: tl.constexpr,
    D: tl.constexpr,
    LOG_LANES: tl.constexpr,
    GROUPS: tl.constexpr,
):
    """Score the allowed rows of the candidate groups exactly.

    keys (Q, room * 32) sort as (score, -row) do. An excluded row has the lowest key. Keys beyond the candidates are
    not written.
    """
    q = tl.program_id(0)
    first = tl.program_id(1) * GROUPS
    found = tl.minimum(tl.load(counters_ptr + q), room)
    if first < found:
        n = first * GROUP + tl.arange(0, GROUPS * GROUP)
        slot = n // GROUP
        group = tl.load(candidates_ptr + q * room + slot, slot < found, 0)
        row = group * GROUP + n % GROUP
        inside = (slot < found) & (row > 0) & (row < table_rows)
        if BLOCKED:
            word = tl.load(blocked_ptr + q.to(tl.int64) * width + group)
            inside = inside & (((word >> (n % GROUP)) & 1) == 0)
        if FILTERED:
            chosen = tl.load(filter_ptr + q)
            word = tl.load(allowed_ptr + chosen.to(tl.int64) * width + group, chosen + group * 0 >= 0, -1)
            inside = inside & (((word >> (n % GROUP)) & 1) != 0)
        vector_ptr = vectors_ptr + q.to(tl.int64) * stride
        score = row_scores(table_ptr, vector_ptr, row.to(tl.int64), inside, D, LOG_LANES, GROUPS * GROUP)
        key = (ordered(score).to(tl.int64) << 32) | (0x7FFFFFFF - row).to(tl.int64)
        key = tl.where(inside, key, -0x8000000000000000)
        tl.store(keys_ptr + q.to(tl.int64) * room * GROUP + n, key)


@triton.jit
def unpacked(key):
    """Return the row and the score of a key.

    The lowest key gives row 0 and -inf.
    """
    high = (key >> 32).to(tl.int32)
    bits = tl.where(high < 0, high ^ 0x7FFFFFFF, high)
    real = key != -0x8000000000000000
    row = tl.where(real, 0x7FFFFFFF - (key & 0xFFFFFFFF).to(tl.int32), 0)
    return row, tl.where(real, bits.to(tl.float32, bitcast=True), float("-inf"))


@triton.jit
def order_kernel(keys_ptr, counters_ptr, rows_ptr, scores_ptr, room, K: tl.constexpr, BLOCK: tl.constexpr):
    """Write the K best rows and their scores, best first.

    If there are fewer, row 0 with a score of -inf follows.
    """
    q = tl.program_id(0)
    n = tl.arange(0, BLOCK)
    found = tl.minimum(tl.load(counters_ptr + q), room) * GROUP
    key = tl.load(keys_ptr + q.to(tl.int64) * room * GROUP + n, n < found, -0x8000000000000000)
    row, score = unpacked(tl.topk(key, K))
    at = q * K + tl.arange(0, K)
    tl.store(rows_ptr + at, row)
    tl.store(scores_ptr + at, score)


@triton.jit
def unpack_kernel(keys_ptr, rows_ptr, scores_ptr, K: tl.constexpr):
    """Write rows and scores of sorted keys (Q, K)."""
    at = tl.program_id(0) * K + tl.arange(0, K)
    row, score = unpacked(tl.load(keys_ptr + at))
    tl.store(rows_ptr + at, row)
    tl.store(scores_ptr + at, score)
