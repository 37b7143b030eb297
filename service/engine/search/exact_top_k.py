"""Exact search of the whole catalogue on a CPU.

Top-k takes one pass; the rank of one item needs all scores.

Exclusions are applied before the selection, and memory does not grow with the catalogue.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.compiled.array_types import F32, I64, U32
from model.compiled.jit import kernel
from service.core.engine_requests import AllowedRows
from service.engine.search.filtered_exact import NO_SCALE, allowed_top_k
from service.engine.search.scoring import score_four, score_one
from service.engine.search.top_k_queries import (
    QueryArrays,
    ResultArrays,
    TargetRanks,
    TopKQueries,
    TopKResult,
    top_k_by_filter,
)

# Rows scored before a selection. With four queries their scores take 8 KB and stay in a core's first-level cache.
_BLOCK_ROWS = 512
_MINUS_INFINITY, _CLEAR = np.float32(-np.inf), np.uint8(0)


def exact_top_k(
    table: F32,
    queries: TopKQueries,
    scale: F32 = NO_SCALE,
    appended: F32 | None = None,
    appended_scale: F32 = NO_SCALE,
) -> TopKResult:
    """Return the rows with the highest scores.

    table is (V + 1, D), and row 0 is never returned. appended (n, D) are the rows after it, which are returned only
    if the query's filter allows them.

    A score is the product of query and row, times scale[row] if `scale` (V + 1,) is given; appended_scale is (n,).
    Rows with a score of -inf are never returned, and neither are rows that the query's filter forbids.
    """
    nothing = table[:0]
    if not queries.filters:
        return TopKResult(*_search_tables(table, scale, nothing, NO_SCALE, *queries[:5]))
    more = nothing if appended is None else appended
    last_row = len(table) - 1 + len(more)
    if len(queries.filters) == 1 and queries.filters[0].full >= last_row and not queries.chosen.any():
        return TopKResult(*_search_tables(table, scale, more, appended_scale, *queries[:5]))  # the usual case

    def filtered(part: TopKQueries, allowed: AllowedRows) -> TopKResult:
        if allowed.full >= last_row:
            return TopKResult(*_search_tables(table, scale, more, appended_scale, *part[:5]))
        return allowed_top_k(table, part, allowed, scale, more, appended_scale)

    return top_k_by_filter(queries, len(table) - 1, lambda part: exact_top_k(table, part, scale), filtered, len(more))


def exact_target_ranks(table: F32, appended: F32, queries: TopKQueries, targets: I64) -> TargetRanks:
    """Return the ranks of rows targets (Q,); see `interfaces.Search`.

    appended (n, D) are the rows after those of the table. Filters are ignored.
    """
    result = TargetRanks.allocate(len(targets))
    _rank_targets(table, appended, targets, queries[:5], *result)
    return result


@kernel
def _search_tables(
    table: F32,
    scale: F32,
    appended: F32,
    appended_scale: F32,
    vectors: F32,
    ks: I64,
    excluded: U32,
    excluded_start: I64,
    excluded_end: I64,
) -> tuple[I64, F32, I64]:
    """Return the fields of `TopKResult`."""
    last_row = len(table) - 1 + len(appended)
    rows, scores, lengths = result = _allocate(ks, last_row)
    masks = np.zeros(last_row + 1, np.uint8)  # bit i: the row is excluded from query i of the current four
    four, block = np.zeros((4, vectors.shape[1]), np.float32), np.empty((4, _BLOCK_ROWS), np.float32)
    for first in range(0, len(vectors), 4):
        count = min(4, len(vectors) - first)
        four[:count] = vectors[first : first + count]
        for i in range(count):
            _mark(masks, excluded[excluded_start[first + i] : excluded_end[first + i]], np.uint8(1 << i))
        for start in range(1, len(table), _BLOCK_ROWS):
            part, factors = table[start : start + _BLOCK_ROWS], scale[start : start + _BLOCK_ROWS]
            _search_block(part, factors, start, four, block, masks, first, ks, result)
        for start in range(0, len(appended), _BLOCK_ROWS):
            part, factors = appended[start : start + _BLOCK_ROWS], appended_scale[start : start + _BLOCK_ROWS]
            _search_block(part, factors, len(table) + start, four, block, masks, first, ks, result)
        for i in range(count):
            _mark(masks, excluded[excluded_start[first + i] : excluded_end[first + i]], _CLEAR)
    return rows, scores, lengths


@kernel
def _search_block(
    part: F32,
    factors: F32,
    start: int,
    four: F32,
    block: F32,
    masks: NDArray[np.uint8],
    first: int,
    ks: I64,
    result: ResultArrays,
) -> None:
    """Insert a block of rows into the results of four queries.

    The rows start, start + 1, ... have the vectors `part`. `first` is the number of the first query.
    """
    rows, scores, lengths = result
    count = min(4, len(ks) - first)
    if count == 1:
        score_one(part, four[0], block[0])
    else:
        score_four(part, four, block)
    for i in range(count):
        for n in range(len(factors)):
            block[i, n] *= factors[n]
        q = first + i
        k = min(ks[q], rows.shape[1])
        lengths[q] = _select(block[i, : len(part)], start, masks, 1 << i, rows[q, :k], scores[q, :k], lengths[q])


@kernel
def _mark(masks: NDArray[np.uint8], rows: U32, bit: np.uint8) -> None:
    """Set a bit of some rows; 0 clears all their bits."""
    for row in rows:
        if row < len(masks):  # others are of appended items
            masks[row] = (masks[row] | bit) if bit else _CLEAR


@kernel
def _allocate(ks: I64, items: int) -> tuple[I64, F32, I64]:
    """Return an empty `TopKResult`; see `TopKResult.allocate`."""
    width = 0  # not max(), which refuses an empty array
    for k in ks:
        width = max(width, min(k, items))
    scores = np.full((len(ks), width), _MINUS_INFINITY, np.float32)
    return np.empty((len(ks), width), np.int64), scores, np.zeros(len(ks), np.int64)


@kernel
def _select(new: F32, start: int, masks: NDArray[np.uint8], bit: int, rows: I64, scores: F32, length: int) -> int:
    """Insert a block of rows into the best rows; return their number.

    The rows start, start + 1, ... have the scores `new`. `masks` says by `bit` which of them are excluded.
    """
    k = len(rows)
    if k == 0:
        return 0
    least = scores[k - 1] if length == k else _MINUS_INFINITY
    for n in range(len(new)):
        if new[n] > least and not masks[start + n] & bit:
            at = length if length < k else k - 1
            while at > 0 and scores[at - 1] < new[n]:  # after equal scores, because their rows are lower
                scores[at], rows[at] = scores[at - 1], rows[at - 1]
                at -= 1
            scores[at], rows[at] = new[n], start + n
            length = min(length + 1, k)
            if length == k:
                least = scores[k - 1]
    return length


@kernel
def _rank_targets(
    table: F32, appended: F32, targets: I64, queries: QueryArrays, among_all: I64, among_unseen: I64
) -> None:
    vectors, _, excluded, excluded_start, excluded_end = queries
    four, scores = np.zeros((4, vectors.shape[1]), np.float32), np.empty((4, len(table)), np.float32)
    more = np.empty((4, len(appended)), np.float32)
    for first in range(0, len(vectors), 4):
        count = min(4, len(vectors) - first)
        four[:count] = vectors[first : first + count]
        if count == 1:
            score_one(table, four[0], scores[0])
            score_one(appended, four[0], more[0])
        else:
            score_four(table, four, scores)
            score_four(appended, four, more)
        for i in range(count):
            q = first + i
            own = np.concatenate((scores[i], more[i])) if len(appended) else scores[i]
            target, score = targets[q], own[targets[q]]
            rank = 1
            for row in range(1, target):  # lower rows precede the target at equal scores
                rank += own[row] >= score
            for row in range(target + 1, len(own)):
                rank += own[row] > score
            among_all[q] = rank
            allowed = 1
            for row in excluded[excluded_start[q] : excluded_end[q]]:
                allowed &= row != target
                rank -= (own[row] > score) | ((own[row] == score) & (row < target))
                own[row] = score if row == target else _MINUS_INFINITY  # a row excluded twice counts once
            among_unseen[q] = rank * allowed
