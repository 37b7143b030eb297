"""Kernels that score rows of a table, and keep the best."""

from __future__ import annotations

import numpy as np

from model.compiled.array_types import F32, I64, U32
from model.compiled.jit import kernel, reduction

_MINUS_INFINITY = np.float32(-np.inf)


@kernel
def insert_row(row: int, score: np.float32, excluded: U32, rows: I64, scores: F32, length: int) -> int:
    """Insert a row into the best rows; return their number.

    Equal scores are in order of row.
    """
    k = len(rows)
    if k == 0 or (length == k and score < scores[k - 1]) or contains_row(excluded, row):
        return length
    if length == k:
        if score == scores[k - 1] and row > rows[k - 1]:
            return length
        length -= 1
    at = length
    while at > 0 and (scores[at - 1] < score or (scores[at - 1] == score and rows[at - 1] > row)):
        scores[at], rows[at] = scores[at - 1], rows[at - 1]
        at -= 1
    scores[at], rows[at] = score, row
    return length + 1


@kernel
def insert_block(new: F32, listed: I64, first_row: int, without: U32, rows: I64, scores: F32, length: int) -> int:
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
def contains_row(rows: U32, row: int) -> bool:
    """Return whether `row` is among `rows`."""
    hits = 0
    for other in rows:
        hits += other == row
    return hits > 0


@reduction
def row_score(row: F32, vector: F32) -> np.float32:
    """Return the product of a row and a query."""
    total = np.float32(0)
    for d in range(len(vector)):
        total += row[d] * vector[d]
    return total


@kernel
def two_table_score(table: F32, appended: F32, row: int, vector: F32) -> np.float32:
    """Return the product of a query and a row.

    The rows of `appended` (n, D) follow those of the table.
    """
    if row < len(table):
        return row_score(table[row], vector)
    return row_score(appended[row - len(table)], vector)


@kernel
def scores_of_rows(table: F32, appended: F32, rows: I64, vector: F32) -> F32:
    """Return the products of a query and these rows.

    The rows of `appended` (n, D) follow those of the table. Each is added up in the same order.
    A matrix product may round equal rows differently, depending on their position.
    """
    scores = np.empty(len(rows), np.float32)
    for n in range(len(rows)):
        scores[n] = two_table_score(table, appended, rows[n], vector)
    return scores


@reduction
def score_one(table: F32, query: F32, scores: F32) -> None:
    """Write the score of every row."""
    for n in range(len(table)):
        row, total = table[n], np.float32(0)
        for d in range(len(query)):
            total += row[d] * query[d]
        scores[n] = total


@reduction
def score_four(table: F32, queries: F32, scores: F32) -> None:
    """Score four queries at once, so that each row is loaded once."""
    q0, q1, q2, q3 = queries[0], queries[1], queries[2], queries[3]
    for n in range(len(table)):
        row = table[n]
        s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for d in range(len(q0)):
            s0 += row[d] * q0[d]
            s1 += row[d] * q1[d]
            s2 += row[d] * q2[d]
            s3 += row[d] * q3[d]
        scores[0, n], scores[1, n], scores[2, n], scores[3, n] = s0, s1, s2, s3


@kernel
def score_all(part: F32, listed: I64, four: F32, count: int, block: F32) -> None:
    """Score a whole block; write the listed rows' scores to its front."""
    if count == 1:
        score_one(part, four[0], block[0])
    else:
        score_four(part, four, block)
    if len(listed) == len(part):
        return
    for i in range(count):
        for at in range(len(listed)):  # never beyond the row's own place
            block[i, at] = block[i, listed[at]]


@reduction
def score_listed(table: F32, listed: I64, four: F32, count: int, block: F32) -> None:
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
