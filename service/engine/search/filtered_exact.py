"""Exact search of the rows that a filter allows, on a CPU.

The allowed rows of each block are listed from the bitmap, scored, and merged into the best rows. The cost is one word
of the bitmap for 32 rows of the catalogue, and the reading of the allowed rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from model.compiled.array_types import F32, I64, U32
from model.compiled.jit import kernel
from service.core.engine_requests import AllowedRows
from service.engine.search.scoring import insert_block, score_all, score_listed
from service.engine.search.top_k_queries import QueryArrays, ResultArrays, TopKQueries, TopKResult

_WORD_ROWS = 32
_BLOCK_WORDS = 16
_BLOCK_ROWS = _BLOCK_WORDS * _WORD_ROWS
# From so many allowed rows on, all rows of a block are scored: a large table is read in order four times faster than
# row by row (loadtests/micro/filtered_search.py).
_DENSE_ROWS = _BLOCK_ROWS // 4
_ONE = np.uint32(1)
NO_ROWS: Any = np.int64(0)  # numba compiles a kernel once more for a literal 0
NO_SCALE = np.empty(0, np.float32)


def allowed_top_k(
    table: F32,
    queries: TopKQueries,
    allowed: AllowedRows,
    scale: F32 = NO_SCALE,
    appended: F32 | None = None,
    appended_scale: F32 = NO_SCALE,
) -> TopKResult:
    """Return the allowed rows with the highest scores; see `exact_top_k.exact_top_k`.

    All queries have this filter, whatever theirs say.
    """
    more = table[:0] if appended is None else appended
    result = TopKResult.allocate(queries, len(table) - 1 + len(more))
    _search_allowed(table, scale, more, appended_scale, queries[:5], allowed.bitmap, allowed.full, result[:])
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
    appended: F32,
    appended_scale: F32,
    queries: QueryArrays,
    bitmap: U32,
    full: int,
    result: ResultArrays,
) -> None:
    """Write the result; see `AllowedRows`, `TopKQueries` and `TopKResult`."""
    vectors = queries[0]
    listed, block = np.empty(_BLOCK_ROWS, np.int64), np.empty((4, _BLOCK_ROWS), np.float32)
    four, selected = np.zeros((4, vectors.shape[1]), np.float32), np.arange(len(vectors))
    words = min(len(bitmap), (len(table) - 1) // _WORD_ROWS + 1)  # others are of appended rows
    for first in range(0, len(vectors), 4):
        count = min(4, len(vectors) - first)
        four[:count] = vectors[first : first + count]
        for start in range(0, words, _BLOCK_WORDS):
            begin, end = start * _WORD_ROWS, min((start + _BLOCK_WORDS) * _WORD_ROWS, len(table))
            length = NO_ROWS
            if end <= full + 1:
                length = _list_all(NO_ROWS + (begin == 0), end - begin, listed)
            else:
                for word in range(start, min(start + _BLOCK_WORDS, words)):
                    length = list_allowed(bitmap, word, len(table), listed, length)
                for at in range(length):
                    listed[at] -= begin
            if length == 0:
                continue  # slices take longer than the words of a block
            part, factors = table[begin:end], scale[begin:end]
            _search_listed(part, factors, begin, listed[:length], four, block, selected[first:], queries, result)
        _search_appended(
            appended, appended_scale, len(table), bitmap, full, four, listed, block, selected[first:], queries, result
        )


@kernel
def insert_appended(
    table: F32, first_row: int, bitmap: U32, full: int, selected: I64, queries: QueryArrays, result: ResultArrays
) -> None:
    """Insert allowed rows of a second table into results.

    Args:
        table: (n, D) the rows `first_row`, `first_row` + 1 and so on.
        first_row: The number of its first row.
        bitmap, full: See `AllowedRows`.
        selected: (S,) the queries with this filter.
        queries: See `TopKQueries`.
        result: The best rows of the first table, all of lower numbers; see `TopKResult`.
    """
    vectors = queries[0]
    listed, block = np.empty(_BLOCK_ROWS, np.int64), np.empty((4, _BLOCK_ROWS), np.float32)
    four = np.zeros((4, vectors.shape[1]), np.float32)
    for first in range(0, len(selected), 4):
        for i in range(min(4, len(selected) - first)):
            four[i] = vectors[selected[first + i]]
        _search_appended(
            table, NO_SCALE, first_row, bitmap, full, four, listed, block, selected[first:], queries, result
        )


@kernel
def _search_appended(
    table: F32,
    scale: F32,
    first_row: int,
    bitmap: U32,
    full: int,
    four: F32,
    listed: I64,
    block: F32,
    selected: I64,
    queries: QueryArrays,
    result: ResultArrays,
) -> None:
    """Insert allowed appended rows into the results of four queries."""
    known = min(len(table), len(bitmap) * _WORD_ROWS - first_row)
    for start in range(0, known, _BLOCK_ROWS):
        end = min(start + _BLOCK_ROWS, known)
        length = _list_block(bitmap, full, first_row + start, end - start, listed)
        part, factors = table[start:end], scale[start:end]
        _search_listed(part, factors, first_row + start, listed[:length], four, block, selected, queries, result)


@kernel
def _search_listed(
    part: F32,
    factors: F32,
    first_row: int,
    listed: I64,
    four: F32,
    block: F32,
    selected: I64,
    queries: QueryArrays,
    result: ResultArrays,
) -> None:
    """Insert a block's listed rows into the results of four queries."""
    _, ks, excluded, excluded_start, excluded_end = queries
    rows, scores, lengths = result
    count = min(4, len(selected))
    if len(listed) == 0:
        return
    if len(listed) < _DENSE_ROWS:
        score_listed(part, listed, four, count, block)
    else:
        score_all(part, listed, four, count, block)
    for i in range(count):
        q = selected[i]
        if len(factors):
            for at in range(len(listed)):
                block[i, at] *= factors[listed[at]]
        k, without = min(ks[q], rows.shape[1]), excluded[excluded_start[q] : excluded_end[q]]
        new = block[i, : len(listed)]
        lengths[q] = insert_block(new, listed, first_row, without, rows[q, :k], scores[q, :k], lengths[q])


@kernel
def _list_all(begin: int, size: int, listed: I64) -> int:
    """List all rows of a block, from `begin` on."""
    for n in range(begin, size):
        listed[n - begin] = n
    return size - begin


@kernel
def _list_block(bitmap: U32, full: int, first_row: int, size: int, listed: I64) -> int:
    """List the allowed ones among `size` rows, counted from `first_row`."""
    if first_row + size <= full + 1:
        return _list_all(NO_ROWS, size, listed)
    length: int = NO_ROWS
    for word in range(first_row // _WORD_ROWS, (first_row + size - 1) // _WORD_ROWS + 1):
        bits = bitmap[word]
        if word * _WORD_ROWS < first_row:  # the word begins with rows before the block
            bits = np.uint32(bits & (np.uint32(0xFFFFFFFF) << np.uint32(first_row & 31)))
        if bits:
            length = list_bits(bits, word, first_row + size, listed, length)
    for at in range(length):
        listed[at] -= first_row
    return length
