"""Triton kernels of the top-k search's first pass.

They bound the scores of all rows and list the groups that reach a threshold; see `topk_search`.

Axes: Q queries, V rows of the table, D its width, G groups of 32 consecutive rows, S spans of whole groups. A group
is one 32-bit word of a bitmap: bit `row % 32` of word `row // 32`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from service.engine.cuda.kernels.topk_rescoring_kernels import ordered

GROUP = tl.constexpr(32)


@triton.jit
def prepare_kernel(
    vectors_ptr,
    stride,
    halves_ptr,
    norms_ptr,
    slacks_ptr,
    counters_ptr,
    longest,
    tiny,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Round one query to float16, with its norm and absolute slack.

    It is scaled to a largest element in [1, 2) by a power of two, which rounds nothing. `longest` is the largest norm
    of a row, `tiny` the table's scale times the float32 underflow of a product. The slack is infinite if a float32
    score could overflow.
    """
    q = tl.program_id(0)
    d = tl.arange(0, WIDTH)
    vector = tl.load(vectors_ptr + q.to(tl.int64) * stride + d, d < D, 0.0)
    largest = tl.max(tl.abs(vector), axis=0)
    exponent = (largest.to(tl.int32, bitcast=True) >> 23) & 0xFF
    # 2^(127 - exponent) brings the largest element into [1, 2); its own exponent must stay that of a normal number.
    shift = tl.minimum(tl.maximum(254 - exponent, 1), 253)
    scale = (shift << 23).to(tl.float32, bitcast=True)
    scaled = vector * scale
    norm = tl.maximum(tl.sqrt(tl.sum(scaled * scaled, axis=0)) * 1.0001, 1.0)
    sure = (norm / scale) * longest < 1e37
    tl.store(halves_ptr + q * WIDTH + d, scaled.to(tl.float16))
    tl.store(norms_ptr + q, norm)
    tl.store(slacks_ptr + q, tl.where(sure, tiny * scale + 1e-30, float("inf")))
    tl.store(counters_ptr + q, 0)


@triton.jit
def mark_kernel(words_ptr, width, rows_ptr, start_ptr, end_ptr, table_rows, CLEAR: tl.constexpr, BLOCK: tl.constexpr):
    """Set the bits of query q's excluded rows, or clear them."""
    q = tl.program_id(0)
    first = tl.load(start_ptr + q)
    end = tl.load(end_ptr + q)
    for start in range(first + tl.program_id(1) * BLOCK, end, BLOCK * tl.num_programs(1)):
        n = start + tl.arange(0, BLOCK)
        row = tl.load(rows_ptr + n, n < end, 0)
        inside = (n < end) & (row > 0) & (row < table_rows)  # the other bits are always set
        word = words_ptr + q.to(tl.int64) * width + (row >> 5)
        if CLEAR:
            tl.atomic_and(word, ~(1 << (row & 31)), inside, sem="relaxed")
        else:
            tl.atomic_or(word, 1 << (row & 31), inside, sem="relaxed")


@triton.jit(do_not_specialize=["queries", "query_blocks"])
def bounds_kernel(
    table_ptr,
    blur_ptr,
    halves_ptr,
    norms_ptr,
    slacks_ptr,
    blocked_ptr,
    allowed_ptr,
    filter_ptr,
    upper_ptr,
    low_ptr,
    high_ptr,
    queries,
    query_blocks,
    groups,
    spans,
    width,
    tiles,
    BLOCKED: tl.constexpr,
    FILTERED: tl.constexpr,
    BY_GROUP: tl.constexpr,
    QUERIES: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Bound the best exact score of each group and span.

    One program scores `tiles` tiles of ROWS rows for QUERIES queries in float16. upper (Q, G); low and high (Q, S),
    where a span is what a program scores, or a group if BY_GROUP. A group without an allowed row gets -inf.
    """
    span = tl.program_id(0) // query_blocks
    q = (tl.program_id(0) % query_blocks) * QUERIES + tl.arange(0, QUERIES)
    asked = q < queries
    d = tl.arange(0, WIDTH)
    vectors = tl.load(halves_ptr + q[:, None] * WIDTH + d[None, :], asked[:, None], 0.0)
    norm = tl.load(norms_ptr + q, asked, 0.0)
    slack = tl.load(slacks_ptr + q, asked, 0.0)
    best_low = tl.full([QUERIES], float("-inf"), tl.float32)
    best_high = tl.full([QUERIES], float("-inf"), tl.float32)
    for tile in range(tiles):
        row = (span * tiles + tile).to(tl.int64) * ROWS
        rows = row + tl.arange(0, ROWS)
        part = tl.load(table_ptr + rows[:, None] * WIDTH + d[None, :])
        scores = tl.reshape(tl.dot(vectors, tl.trans(part)), [QUERIES, ROWS // GROUP, GROUP])
        group = (row // GROUP).to(tl.int32) + tl.arange(0, ROWS // GROUP)
        if BLOCKED or FILTERED:
            words = tl.zeros([QUERIES, ROWS // GROUP], tl.int32)
            if BLOCKED:
                words |= tl.load(blocked_ptr + q.to(tl.int64)[:, None] * width + group[None, :], asked[:, None], 0)
            if FILTERED:
                chosen = tl.load(filter_ptr + q, asked, -1)
                at = chosen.to(tl.int64)[:, None] * width + group[None, :]
                words |= ~tl.load(allowed_ptr + at, (chosen >= 0)[:, None], -1)
            bits = (words[:, :, None] >> tl.arange(0, GROUP)[None, None, :]) & 1
            scores = tl.where(bits != 0, float("-inf"), scores)
        best = tl.max(scores, axis=2)
        blur = norm[:, None] * tl.load(blur_ptr + group)[None, :] + slack[:, None]
        upper = tl.where(best > float("-inf"), best + blur, float("-inf"))
        lower = best - blur
        inside = asked[:, None] & (group < groups)[None, :]
        at = q.to(tl.int64)[:, None] * groups + group[None, :]
        tl.store(upper_ptr + at, upper, inside)
        if BY_GROUP:
            tl.store(low_ptr + at, lower, inside)
        else:
            best_low = tl.maximum(best_low, tl.max(lower, axis=1))
            best_high = tl.maximum(best_high, tl.max(upper, axis=1))
    if not BY_GROUP:
        tl.store(low_ptr + q * spans + span, best_low, asked)
        tl.store(high_ptr + q * spans + span, best_high, asked)


@triton.jit
def threshold_kernel(low_ptr, k_ptr, threshold_ptr, spans, BLOCK: tl.constexpr):
    """Find the k[q]-th largest of low[q], one bit at a time.

    It is -inf if there are fewer.
    """
    q = tl.program_id(0)
    n = tl.arange(0, BLOCK)
    low = tl.load(low_ptr + q * spans + n, n < spans, float("-inf"))
    keys = ordered(low).to(tl.uint32, bitcast=True) ^ 0x80000000
    wanted = tl.load(k_ptr + q)
    found = tl.zeros([], tl.uint32)
    bit = tl.full([], 0x80000000, tl.uint32)
    for _ in range(32):
        tried = found | bit
        bit = bit >> 1
        enough = tl.sum((keys >= tried).to(tl.int32), axis=0) >= wanted
        found = tl.where(enough, tried, found)
    bits = (found ^ 0x80000000).to(tl.int32, bitcast=True)
    value = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.float32, bitcast=True)
    # Without a row wanted every bit is set, which is no number: no group is as good as that.
    tl.store(threshold_ptr + q, tl.where(found <= 0x007FFFFF, float("-inf"), value))


@triton.jit
def candidates_kernel(
    upper_ptr,
    high_ptr,
    threshold_ptr,
    counters_ptr,
    candidates_ptr,
    groups,
    spans,
    span_groups,
    room,
    SPANS: tl.constexpr,
    GROUPS: tl.constexpr,
):
    """List the groups whose upper bounds reach the query's threshold.

    They are in any order; groups without room are only counted.
    """
    q = tl.program_id(0)
    first = tl.program_id(1) * SPANS
    n = first + tl.arange(0, SPANS)
    threshold = tl.load(threshold_ptr + q)
    high = tl.load(high_ptr + q * spans + n, n < spans, float("-inf"))
    if tl.max(((high >= threshold) & (high > float("-inf"))).to(tl.int32), axis=0) > 0:
        for span in range(first, tl.minimum(first + SPANS, spans)):
            if tl.load(high_ptr + q * spans + span) >= threshold:
                within = tl.arange(0, GROUPS)
                group = span * span_groups + within
                inside = (within < span_groups) & (group < groups)
                upper = tl.load(upper_ptr + q.to(tl.int64) * groups + group, inside, float("-inf"))
                hit = (upper >= threshold) & (upper > float("-inf"))
                hits = tl.sum(hit.to(tl.int32), axis=0)
                if hits > 0:
                    at = tl.atomic_add(counters_ptr + q, hits) + tl.cumsum(hit.to(tl.int32), axis=0) - 1
                    tl.store(candidates_ptr + q * room + at, group, hit & (at < room))


@triton.jit
def listed_groups_kernel(upper_ptr, threshold_ptr, counters_ptr, candidates_ptr, groups, room, GROUPS: tl.constexpr):
    """`candidates_kernel` where every span is one group."""
    q = tl.program_id(0)
    group = tl.program_id(1) * GROUPS + tl.arange(0, GROUPS)
    upper = tl.load(upper_ptr + q.to(tl.int64) * groups + group, group < groups, float("-inf"))
    hit = (upper >= tl.load(threshold_ptr + q)) & (upper > float("-inf"))
    hits = tl.sum(hit.to(tl.int32), axis=0)
    if hits > 0:
        at = tl.atomic_add(counters_ptr + q, hits) + tl.cumsum(hit.to(tl.int32), axis=0) - 1
        tl.store(candidates_ptr + q * room + at, group, hit & (at < room))
