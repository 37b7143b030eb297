"""Exact search of the rows that a filter allows, on a CPU.

The allowed rows of each block are listed from the bitmap, scored, and merged into the best rows. The cost is one word
of the bitmap for 32 rows of the catalogue, and the reading of the allowed rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from model.compiled.array_types import F32, I64, U32
from model.compiled.jit import kernel, reduction
from service.core.engine_requests import AllowedRows
from service.engine.search.scoring import insert_row, score_four, score_one
from service.engine.search.top_k_queries import QueryArrays, ResultArrays, TopKQueries, TopKResult

_WORD_ROWS = 32
_BLOCK_WORDS = 16
_BLOCK_ROWS = _BLOCK_WORDS * _WORD_ROWS
# From so many allowed rows on, all rows of a block are scored: a large table is read in order four times faster than
# row by row (loadtests/micro/filtered_search.py).
_DENSE_ROWS = _BLOCK_ROWS // 4
_ONE = np.uint32(1)
NO_ROWS: Any = np.int64(0)  # numba compiles a kernel once more for a literal 0
_MINUS_INFINITY = np.float32(-np.inf)
NO_SCALE = np.empty(0, np.float32)


def allowed_top_k(table: F32, queries: TopKQueries, allowed: AllowedRows, scale: F32 = NO_SCALE) -> TopKResult:
    """Return the allowed rows with the highest scores; see `exact.exact_top_k`.

    All queries have this filter, whatever theirs say.
    """
    result = TopKResult.allocate(queries, len(table) - 1)
    _search_allowed(table, scale, queries[:5], allowed.bitmap, result[:])
    return result


@kernel
def is_allowed(bitmap: U32, row: int) -> bool:
    """Return the row's bit."""
    return bool((bitmap[row >> 5] >> np.uint32(row & 31)) & _ONE)


@kernel
def list_allowed(bitmap: U32, word: int, table_rows: int, listed: I64, length: int) -> int:
    """Append a word's allowed rows to a list; return its length."""
    return list_bits(bitmap[word], word, table_rows, listed, length)


@kernel
def list_bits(bits: np.uint32, word: int, table_rows: int, listed: I64, length: int) -> int:
    """Append the rows of bits to a list; return its length."""
    while bits:
        lowest = bits & (~bits + _ONE)
        bits ^= lowest
        row = word * _WORD_ROWS + _bit_number(lowest)
        if 0 < row < table_rows:
            listed[length] = row
            length += 1
    return length


@kernel
def _bit_number(bit: np.uint32) -> int:
    """Return the number of the only bit that is set."""
    number = 16 if bit & np.uint32(0xFFFF0000) else 0
    number += 8 if bit & np.uint32(0xFF00FF00) else 0
    number += 4 if bit & np.uint32(0xF0F0F0F0) else 0
    number += 2 if bit & np.uint32(0xCCCCCCCC) else 0
    return number + (1 if bit & np.uint32(0xAAAAAAAA) else 0)


@kernel
def _search_allowed(
    table: F32,
    scale: F32,
    queries: QueryArrays,
    bitmap: U32,
    result: ResultArrays,
) -> None:
    """Write the result; see `TopKQueries` and `TopKResult`."""
    vectors, ks, excluded, excluded_start, excluded_end = queries
    rows, scores, lengths = result
    listed, block = np.empty(_BLOCK_ROWS, np.int64), np.empty((4, _BLOCK_ROWS), np.float32)
    four = np.zeros((4, vectors.shape[1]), np.float32)
    words = min(len(bitmap), (len(table) - 1) // _WORD_ROWS + 1)  # others are of appended rows
    for first in range(0, len(vectors), 4):
        count = min(4, len(vectors) - first)
        four[:count] = vectors[first : first + count]
        for start in range(0, words, _BLOCK_WORDS):
            length = NO_ROWS
            for word in range(start, min(start + _BLOCK_WORDS, words)):
                length = list_allowed(bitmap, word, len(table), listed, length)
            if length == 0:
                continue
            if length < _DENSE_ROWS:
                _score_listed(table, listed[:length], four, count, block)
            else:
                _score_all(table, listed[:length], start * _WORD_ROWS, four, count, block)
            for i in range(count):
                q, k = first + i, min(ks[first + i], rows.shape[1])
                without, n = excluded[excluded_start[q] : excluded_end[q]], lengths[q]
                for at in range(length):
                    score = block[i, at] * scale[listed[at]] if len(scale) else block[i, at]
                    if score > _MINUS_INFINITY and k > 0 and (n < k or score > scores[q, k - 1]):
                        n = insert_row(listed[at], score, without, rows[q, :k], scores[q, :k], n)
                lengths[q] = n


@kernel
def insert_appended(
    table: F32,
    scale: F32,
    first_row: int,
    bitmap: U32,
    full: int,
    selected: I64,
    queries: QueryArrays,
    result: ResultArrays,
) -> None:
    """Insert allowed rows of a second table into results.

    Args:
        table: (n, D) the rows `first_row`, `first_row` + 1 and so on.
        scale: (n,) what their scores are multiplied with, or empty.
        first_row: The number of its first row.
        bitmap, full: See `AllowedRows`.
        selected: (S,) the queries with this filter.
        queries: See `TopKQueries`.
        result: The best rows of the first table, all of lower numbers; see `TopKResult`.
    """
    vectors, ks, excluded, excluded_start, excluded_end = queries
    rows, scores, lengths = result
    listed, block = np.empty(_BLOCK_ROWS, np.int64), np.empty((4, _BLOCK_ROWS), np.float32)
    four = np.zeros((4, vectors.shape[1]), np.float32)
    known = min(len(table), len(bitmap) * _WORD_ROWS - first_row)
    for first in range(0, len(selected), 4):
        count = min(4, len(selected) - first)
        for i in range(count):
            four[i] = vectors[selected[first + i]]
        for start in range(0, known, _BLOCK_ROWS):
            part = table[start : min(start + _BLOCK_ROWS, known)]
            length = _list_block(bitmap, full, first_row + start, len(part), listed)
            if length == 0:
                continue
            if length < _DENSE_ROWS:
                _score_listed(part, listed[:length], four, count, block)
            else:
                _score_all(part, listed[:length], NO_ROWS, four, count, block)
            for i in range(count):
                q = selected[first + i]
                if len(scale):
                    for at in range(length):
                        block[i, at] *= scale[start + listed[at]]
                k, without = min(ks[q], rows.shape[1]), excluded[excluded_start[q] : excluded_end[q]]
                new, begin = block[i, :length], first_row + start
                lengths[q] = _insert_block(new, listed, begin, without, rows[q, :k], scores[q, :k], lengths[q])


@kernel
def _list_block(bitmap: U32, full: int, first_row: int, size: int, listed: I64) -> int:
    """List the allowed ones among `size` rows, counted from `first_row`."""
    if first_row + size <= full + 1:
        for n in range(size):
            listed[n] = n
        return size
    length: int = NO_ROWS
    for n in range(size):
        listed[length] = n
        length += is_allowed(bitmap, first_row + n)
    return length


@kernel
def _insert_block(new: F32, listed: I64, first_row: int, without: U32, rows: I64, scores: F32, length: int) -> int:
    """Insert rows with the scores `new`; return the number of results."""
    k = len(rows)
    if k == 0:
        return length
    least = scores[k - 1] if length == k else _MINUS_INFINITY
    for at in range(len(new)):
        if new[at] > least:
            length = insert_row(first_row + listed[at], new[at], without, rows, scores, length)
            if length == k:
                least = scores[k - 1]
    return length


@kernel
def _score_all(table: F32, listed: I64, start: int, four: F32, count: int, block: F32) -> None:
    """Score a whole block; write the listed rows' scores to its front."""
    part = table[start : start + _BLOCK_ROWS]
    if count == 1:
        score_one(part, four[0], block[0])
    else:
        score_four(part, four, block)
    for i in range(count):
        for at in range(len(listed)):  # never beyond the row's own place
            block[i, at] = block[i, listed[at] - start]


@reduction
def _score_listed(table: F32, listed: I64, four: F32, count: int, block: F32) -> None:
    """Score the listed rows, four queries at once."""
    q0, q1, q2, q3 = four[0], four[1], four[2], four[3]
    for n in range(len(listed)):
        row = table[listed[n]]
        s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        if count == 1:
            for d in range(len(q0)):
                s0 += row[d] * q0[d]
        else:
            for d in range(len(q0)):
                s0 += row[d] * q0[d]
                s1 += row[d] * q1[d]
                s2 += row[d] * q2[d]
                s3 += row[d] * q3[d]
        block[0, n], block[1, n], block[2, n], block[3, n] = s0, s1, s2, s3
