"""Answers to queries that bring their own candidates."""

from __future__ import annotations

import numpy as np

from model.compiled.array_types import F32, I64
from service.core.engine_requests import RankCandidates, ScoredItem


def rank_candidates(
    query: RankCandidates, rows: I64, scores: F32, excluded: I64, item_count: int
) -> tuple[ScoredItem, ...]:
    """Return the candidates by score, and unknown ones last.

    Args:
        query: The candidates.
        rows: (N,) the row of each candidate; 0 is unknown.
        scores: (N,) their scores; those of row 0 are ignored.
        excluded: Rows of the excluded items.
        item_count: Number of the model's trained items.
    """
    eligible = (rows > 0) & (rows <= item_count) if query.allowed is None else query.allowed.contains(rows)
    if len(excluded):
        eligible &= ~np.isin(rows, excluded)
    order = np.lexsort((rows, -np.where(rows > 0, scores, -np.inf)))
    found = []
    for n in order.tolist():
        item_id, row = query.candidates[n], int(rows[n])
        if row:
            found.append(ScoredItem(item_id, float(scores[n]), bool(eligible[n])))
        else:
            found.append(ScoredItem(item_id, None, eligible=False))
    return tuple(found)
