"""Kernels of `gathered`.

Axes: V items, D model width, N gathered rows, Q queries, C candidates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.compiled.array_types import F32, I64, U32
from model.compiled.jit import kernel
from service.engine.search.filtered_exact import NO_ROWS, is_allowed, list_bits
from service.engine.search.scoring import insert_row, row_score
from service.engine.search.top_k_queries import QueryArrays, ResultArrays

_WORD_ROWS = 32


@kernel
def encode_rows(table: F32, rows: NDArray[np.int32], limits: F32, codes: NDArray[np.uint8]) -> None:
    """Write the four-bit codes of rows.

    rows are (N,), and codes (N, ceil(D / 2)). The code of a number is how many of its dimension's limits (15, D) are
    below.
    """
    width = table.shape[1]
    levels = np.zeros(width + 1, np.uint8)  # one more, so that each dimension has a partner
    for n in range(len(rows)):
        row = table[rows[n]]
        for d in range(width):
            levels[d] = 0
        for limit in limits:
            for d in range(width):
                levels[d] += np.uint8(row[d] > limit[d])
        for pair in range(codes.shape[1]):
            codes[n, pair] = levels[2 * pair] | (levels[2 * pair + 1] << np.uint8(4))


@kernel
def changed_rows(before: U32, after: U32, table_rows: int) -> tuple[I64, int]:
    """Return the added rows, and the number of removed ones."""
    known = min(len(before), len(after))  # beyond are appended rows only
    words, count = np.empty(known, np.int64), NO_ROWS
    for word in range(known):
        words[count] = word
        count += before[word] != after[word]
    added, gone = np.empty(count * _WORD_ROWS, np.int64), np.empty(count * _WORD_ROWS, np.int64)
    added_length, gone_length = NO_ROWS, NO_ROWS
    for word in words[:count]:
        added_length = list_bits(after[word] & ~before[word], word, table_rows, added, added_length)
        gone_length = list_bits(before[word] & ~after[word], word, table_rows, gone, gone_length)
    return added[:added_length].copy(), gone_length


@kernel
def count_allowed(bitmap: U32, excluded: U32, excluded_start: I64, excluded_end: I64) -> int:
    """Return how many excluded rows of a query are allowed, at most."""
    most = 0
    for q in range(len(excluded_start)):
        count = 0
        for row in excluded[excluded_start[q] : excluded_end[q]]:
            if row < len(bitmap) * _WORD_ROWS:  # others are appended later
                count += is_allowed(bitmap, int(row))
        most = max(most, count)
    return most


@kernel
def rescore_gathered(
    table: F32,
    gathered: NDArray[np.int32],
    uncoded: I64,
    candidates: I64,
    estimates: F32,
    margins: F32,
    queries: QueryArrays,
    bitmap: U32,
    result: ResultArrays,
) -> NDArray[np.bool_]:
    """Score candidates; return which queries (Q,) had enough.

    Args:
        table: (V + 1, D)
        gathered: (N,) the rows that the candidates are positions of.
        uncoded: Rows that are not gathered, and perhaps allowed.
        candidates: (Q, C) positions by estimate, best first; -1 ends them.
        estimates: (Q, C) their estimated scores.
        margins: (Q,) how much a score may be above its estimate.
        queries: see `TopKQueries`.
        bitmap: see `AllowedRows`; no other row is written.
        result: is written; see `TopKResult`.
    """
    vectors, ks, excluded, excluded_start, excluded_end = queries
    rows, scores, lengths = result
    enough = np.zeros(len(vectors), np.bool_)
    for q in range(len(vectors)):
        without, k = excluded[excluded_start[q] : excluded_end[q]], min(ks[q], rows.shape[1])
        own_rows, own_scores, n, vector = rows[q, :k], scores[q, :k], 0, vectors[q]
        for row in uncoded:
            if is_allowed(bitmap, row):
                n = insert_row(row, row_score(table[row], vector), without, own_rows, own_scores, n)
        enough[q] = k == 0 or candidates.shape[1] == len(gathered)
        for c in range(candidates.shape[1]):
            if candidates[q, c] < 0 or (n == k and estimates[q, c] + margins[q] < own_scores[k - 1]):
                enough[q] = True
                break
            row = int(gathered[candidates[q, c]])
            if is_allowed(bitmap, row):
                n = insert_row(row, row_score(table[row], vector), without, own_rows, own_scores, n)
        lengths[q] = n
    return enough
