"""The kernels behind an index: what it proposes is scored in float32 and put in order."""

from __future__ import annotations

import numpy as np

from model.state_layout import F32
from service.engine.jit import kernel, reduction
from service.engine.state_codec_kernels import Index, Words

# How far down the order an item's place is looked for.
DEEPEST = 100


@kernel
def choose(
    table: F32,
    vectors: F32,
    counts: Index,
    unwanted: Words,
    begin: Index,
    end: Index,
    proposed: Index,
    rows: Index,
    scores: F32,
    found: Index,
) -> None:
    """The best of the proposed rows (Q, P), none of which may come twice, by their scores in float32; -1 is none."""
    for q in range(len(vectors)):
        k, not_these = min(counts[q], rows.shape[1]), unwanted[begin[q] : end[q]]
        n = 0
        for row in proposed[q]:
            if row > 0:
                n = _consider(row, _score(table[row], vectors[q]), not_these, rows[q, :k], scores[q, :k], n)
        found[q] = n


@kernel
def place_among(
    table: F32,
    vectors: F32,
    targets: Index,
    unwanted: Words,
    begin: Index,
    end: Index,
    rows: Index,
    scores: F32,
    found: Index,
    among_all: Index,
    among_unseen: Index,
) -> None:
    """Places from the best rows that are wanted, and from the unwanted ones, all of which are scored."""
    for q in range(len(vectors)):
        target, not_these = targets[q], unwanted[begin[q] : end[q]]
        score, place = _score(table[target], vectors[q]), 1
        for n in range(found[q]):
            if rows[q, n] != target:
                place += (scores[q, n] > score) | ((scores[q, n] == score) & (rows[q, n] < target))
        among_unseen[q] = place if place <= DEEPEST and not _is_among(target, not_these) else 0
        for n in range(len(not_these)):
            if place > DEEPEST:
                break
            row = not_these[n]
            other = _score(table[row], vectors[q])
            if row != target and (other > score or (other == score and row < target)):
                place += not _is_among(row, not_these[:n])
        among_all[q] = place if place <= DEEPEST else 0


@kernel
def _consider(row: int, score: np.float32, unwanted: Words, rows: Index, scores: F32, found: int) -> int:
    """Give the row its place among the best so far, equal ones in order of row; returns how many these are now."""
    k = len(rows)
    if k == 0 or (found == k and score < scores[k - 1]) or _is_among(row, unwanted):
        return found
    if found == k:
        if score == scores[k - 1] and row > rows[k - 1]:
            return found
        found -= 1
    at = found
    while at > 0 and (scores[at - 1] < score or (scores[at - 1] == score and rows[at - 1] > row)):
        scores[at], rows[at] = scores[at - 1], rows[at - 1]
        at -= 1
    scores[at], rows[at] = score, row
    return found + 1


@kernel
def _is_among(row: int, some: Words) -> bool:
    hits = 0
    for other in some:
        hits += other == row
    return hits > 0


@reduction
def _score(row: F32, vector: F32) -> np.float32:
    total = np.float32(0)
    for d in range(len(vector)):
        total += row[d] * vector[d]
    return total
