"""Kernels that score an index's candidates in float32.

Scores and order of the results are therefore exact.
"""

from __future__ import annotations

import numpy as np

from service.engine.arrays import F32, I64, U32
from service.engine.jit import kernel, reduction

# Largest rank of a target that an index reports.
MAX_RANK = 100


@kernel
def rescore(
    table: F32,
    vectors: F32,
    ks: I64,
    excluded: U32,
    excluded_start: I64,
    excluded_end: I64,
    candidates: I64,
    rows: I64,
    scores: F32,
    lengths: I64,
) -> None:
    """Write the best of each query's candidates (Q, C).

    A candidate of -1 is ignored. No candidate may occur twice within a query.
    """
    for q in range(len(vectors)):
        k, without = min(ks[q], rows.shape[1]), excluded[excluded_start[q] : excluded_end[q]]
        n = 0
        for row in candidates[q]:
            if row > 0:
                n = _insert(row, _score(table[row], vectors[q]), without, rows[q, :k], scores[q, :k], n)
        lengths[q] = n


@kernel
def rank_among(
    table: F32,
    vectors: F32,
    targets: I64,
    excluded: U32,
    excluded_start: I64,
    excluded_end: I64,
    rows: I64,
    scores: F32,
    lengths: I64,
    among_all: I64,
    among_unseen: I64,
) -> None:
    """Write each target's ranks.

    They follow from the query's best rows, and from the excluded rows, which are all scored.
    """
    for q in range(len(vectors)):
        target, without = targets[q], excluded[excluded_start[q] : excluded_end[q]]
        score, rank = _score(table[target], vectors[q]), 1
        for n in range(lengths[q]):
            if rows[q, n] != target:
                rank += (scores[q, n] > score) | ((scores[q, n] == score) & (rows[q, n] < target))
        among_unseen[q] = rank if rank <= MAX_RANK and not _contains(without, target) else 0
        for n in range(len(without)):
            if rank > MAX_RANK:
                break
            row = without[n]
            other = _score(table[row], vectors[q])
            if row != target and (other > score or (other == score and row < target)):
                rank += not _contains(without[:n], row)
        among_all[q] = rank if rank <= MAX_RANK else 0


@kernel
def _insert(row: int, score: np.float32, excluded: U32, rows: I64, scores: F32, length: int) -> int:
    """Insert a row into the best rows; return their number.

    Equal scores are in order of row.
    """
    k = len(rows)
    if k == 0 or (length == k and score < scores[k - 1]) or _contains(excluded, row):
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
def _contains(rows: U32, row: int) -> bool:
    hits = 0
    for other in rows:
        hits += other == row
    return hits > 0


@reduction
def _score(row: F32, vector: F32) -> np.float32:
    total = np.float32(0)
    for d in range(len(vector)):
        total += row[d] * vector[d]
    return total
