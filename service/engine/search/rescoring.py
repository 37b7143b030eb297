"""Kernels that score an index's candidates in float32.

Scores and order of the results are therefore exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from model.compiled.array_types import F32, I64, U32
from model.compiled.jit import kernel
from service.engine.search.filtered_exact import is_allowed
from service.engine.search.scoring import contains_row, insert_row, row_score, two_table_score

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
                n = insert_row(row, row_score(table[row], vectors[q]), without, rows[q, :k], scores[q, :k], n)
        lengths[q] = n


@kernel
def keep_allowed(
    bitmap: U32,
    selected: I64,
    candidates: I64,
    part_width: int,
    most: I64,
    excluded: U32,
    excluded_start: I64,
    excluded_end: I64,
    found: I64,
) -> None:
    """Replace candidates (Q, C) that a filter forbids by -1.

    Args:
        bitmap: see `AllowedRows`.
        selected: the queries that have this filter.
        candidates: Parts of `part_width`, each best first; -1 ends it.
        part_width: Length of a part.
        most: (Q,) how many allowed candidates of each part to keep, plus one for each excluded row.
        excluded, excluded_start, excluded_end: see `TopKQueries`.
        found: (Q,) is set to how many candidates of the first part are allowed, less the excluded rows.
    """
    known = 32 * len(bitmap)  # rows beyond were appended later
    for q in selected:
        without = 0
        for row in excluded[excluded_start[q] : excluded_end[q]]:
            if row < known:
                without += is_allowed(bitmap, int(row))
        found[q] = -without
        for start in range(0, candidates.shape[1], part_width):
            left = most[q] + without
            for c in range(start, start + part_width):
                row = candidates[q, c]
                if row < 0:
                    break
                is_kept = is_allowed(bitmap, row)
                found[q] += is_kept and start == 0
                if is_kept and left > 0:
                    left -= 1
                else:
                    candidates[q, c] = -1


@kernel
def rank_among(
    table: F32,
    appended: F32,
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

    appended (n, D) are the rows after those of the table. The ranks follow from the query's best rows,
    and from the excluded rows, which are all scored.
    """
    for q in range(len(vectors)):
        target, without = targets[q], excluded[excluded_start[q] : excluded_end[q]]
        score, rank = two_table_score(table, appended, target, vectors[q]), 1
        for n in range(lengths[q]):
            if rows[q, n] != target:
                rank += (scores[q, n] > score) | ((scores[q, n] == score) & (rows[q, n] < target))
        among_unseen[q] = rank if rank <= MAX_RANK and not contains_row(without, target) else 0
        for n in range(len(without)):
            if rank > MAX_RANK:
                break
            row: Any = np.int64(without[n])  # the type of the targets
            other = two_table_score(table, appended, row, vectors[q])
            if row != target and (other > score or (other == score and row < target)):
                rank += not contains_row(without[:n], row)
        among_all[q] = rank if rank <= MAX_RANK else 0
