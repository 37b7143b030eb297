"""Answers to queries that bring their own candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.bundle.bundle import Item
from model.compiled.array_types import F32, I64
from service.core.engine_requests import RankCandidates, ScoredItem
from service.engine.search.top_k_queries import check_filter


def rank_candidates(
    query: RankCandidates, rows: I64, scores: F32, excluded: I64, items: Sequence[Item]
) -> tuple[ScoredItem, ...]:
    """Return the candidates by score, and unknown ones last.

    Args:
        query: The candidates.
        rows: (N,) the row of each candidate; 0 is unknown.
        scores: (N,) their scores; those of row 0 are ignored.
        excluded: Rows of the excluded items.
        items: The model's items; the first has row 1.
    """
    eligible = rows > 0
    if query.allowed is not None:
        check_filter(query.allowed, len(items))
        eligible &= query.allowed.contains(rows)
    if len(excluded):
        eligible &= ~np.isin(rows, excluded)
    order = np.lexsort((rows, -np.where(rows > 0, scores, -np.inf)))
    found = []
    for n in order.tolist():
        item_id, row = query.candidates[n], int(rows[n])
        if row:
            item = items[row - 1]
            found.append(ScoredItem(item_id, float(scores[n]), item.title, item.categories, bool(eligible[n])))
        else:
            found.append(ScoredItem(item_id, None, eligible=False))
    return tuple(found)
