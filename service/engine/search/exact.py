"""Exact top-k over the whole catalogue: one pass, filters before selection, memory that does not grow with it.

And the place of one item in that order, for which all scores are kept at hand.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.state_layout import F32
from service.engine.jit import kernel, reduction
from service.engine.state_codec_kernels import Index, Words

# Rows whose scores are at hand at once: with four queries 8 KB, which stay in a core's first-level cache.
_BLOCK = 512
_NO_SCALE = np.empty(0, np.float32)
_LEAST = np.float32(-np.inf)


class Best(NamedTuple):
    """Per query: rows (Q, k) best first and their scores (Q, k), of which the first found[q] are valid."""

    rows: Index
    scores: F32
    found: Index


class Queries(NamedTuple):
    """What is asked: vectors (Q, D), how many rows each wants, and which it must not get.

    Query q is not answered with rows[begin[q] : end[q]], nor with row 0.
    """

    vectors: F32
    counts: Index
    rows: Words
    begin: Index
    end: Index

    def only(self, which: Index) -> Queries:
        """Some of the queries."""
        return Queries(self.vectors[which], self.counts[which], self.rows, self.begin[which], self.end[which])


class TargetRanks(NamedTuple):
    """Per query: the place (Q,) of its row among all rows and among those it may be answered with; 1 is the best.

    0 is no place: the row is no answer, or lies beyond what an index has looked at.
    """

    among_all: Index
    among_unseen: Index


def empty(queries: Queries, items: int) -> Best:
    """Room for the answers out of a catalogue of so many items."""
    shape = (len(queries.counts), min(int(queries.counts.max(initial=0)), items))
    return Best(np.empty(shape, np.int64), np.full(shape, _LEAST, np.float32), np.zeros(shape[0], np.int64))


def exact(table: F32, queries: Queries, scale: F32 = _NO_SCALE) -> Best:
    """The rows of `table` (V + 1, D) of the highest scores, best first; equal scores in order of row.

    A score is the product of the query and the row, times scale[row] (V + 1,) if given. -inf is no answer.
    """
    best = empty(queries, len(table) - 1)
    _search(
        table,
        scale,
        queries.vectors,
        queries.counts,
        queries.rows,
        queries.begin,
        queries.end,
        best.rows,
        best.scores,
        best.found,
    )
    return best


def ranks(table: F32, queries: Queries, targets: Index) -> TargetRanks:
    """Where row targets[q] (Q,) of `table` stands in the order of `exact` for query q; its count does not matter."""
    found = TargetRanks(np.empty(len(targets), np.int64), np.empty(len(targets), np.int64))
    _place(
        table,
        queries.vectors,
        targets,
        queries.rows,
        queries.begin,
        queries.end,
        found.among_all,
        found.among_unseen,
    )
    return found


@kernel
def _search(
    table: F32,
    scale: F32,
    vectors: F32,
    counts: Index,
    unwanted: Words,
    begin: Index,
    end: Index,
    rows: Index,
    scores: F32,
    found: Index,
) -> None:
    barred = np.zeros(len(table), np.uint8)  # bit i: not for query i of the four at hand
    four, block = np.zeros((4, vectors.shape[1]), np.float32), np.empty((4, _BLOCK), np.float32)
    for first in range(0, len(vectors), 4):
        asked = min(4, len(vectors) - first)
        four[:asked] = vectors[first : first + asked]
        for i in range(asked):
            for row in unwanted[begin[first + i] : end[first + i]]:
                barred[row] |= np.uint8(1 << i)
        for start in range(1, len(table), _BLOCK):
            part = table[start : start + _BLOCK]
            if asked == 1:
                _score_one(part, four[0], block[0])
            else:
                _score_four(part, four, block)
            if len(scale):
                for i in range(asked):
                    for n in range(len(part)):
                        block[i, n] *= scale[start + n]
            for i in range(asked):
                q = first + i
                k = min(counts[q], rows.shape[1])
                found[q] = _select(block[i, : len(part)], start, barred, 1 << i, rows[q, :k], scores[q, :k], found[q])
        for i in range(asked):
            for row in unwanted[begin[first + i] : end[first + i]]:
                barred[row] = 0


@kernel
def _select(fresh: F32, start: int, barred: NDArray[np.uint8], bit: int, rows: Index, scores: F32, found: int) -> int:
    """Rows start, start + 1, … with the scores `fresh` among the best so far; returns how many these are now."""
    k = len(rows)
    if k == 0:
        return 0
    least = scores[k - 1] if found == k else _LEAST
    for n in range(len(fresh)):
        if fresh[n] > least and not barred[start + n] & bit:
            at = found if found < k else k - 1
            while at > 0 and scores[at - 1] < fresh[n]:  # behind equal ones, whose rows are lower
                scores[at], rows[at] = scores[at - 1], rows[at - 1]
                at -= 1
            scores[at], rows[at] = fresh[n], start + n
            found = min(found + 1, k)
            if found == k:
                least = scores[k - 1]
    return found


@kernel
def _place(
    table: F32,
    vectors: F32,
    targets: Index,
    unwanted: Words,
    begin: Index,
    end: Index,
    among_all: Index,
    among_unseen: Index,
) -> None:
    four, scores = np.zeros((4, vectors.shape[1]), np.float32), np.empty((4, len(table)), np.float32)
    for first in range(0, len(vectors), 4):
        asked = min(4, len(vectors) - first)
        four[:asked] = vectors[first : first + asked]
        if asked == 1:
            _score_one(table, four[0], scores[0])
        else:
            _score_four(table, four, scores)
        for i in range(asked):
            q, own = first + i, scores[i]
            target, score = targets[q], own[targets[q]]
            place = 1
            for row in range(1, target):  # of equal ones the lower rows come first
                place += own[row] >= score
            for row in range(target + 1, len(own)):
                place += own[row] > score
            among_all[q] = place
            answerable = 1
            for row in unwanted[begin[q] : end[q]]:
                answerable &= row != target
                place -= (own[row] > score) | ((own[row] == score) & (row < target))
                own[row] = score if row == target else _LEAST  # named twice, it counts once
            among_unseen[q] = place * answerable


@reduction
def _score_one(table: F32, query: F32, scores: F32) -> None:
    for n in range(len(table)):
        row, total = table[n], np.float32(0)
        for d in range(len(query)):
            total += row[d] * query[d]
        scores[n] = total


@reduction
def _score_four(table: F32, queries: F32, scores: F32) -> None:
    """Each row that is loaded serves four queries."""
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
