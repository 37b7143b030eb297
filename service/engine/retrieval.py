"""Exact top-k over the whole catalogue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.state import F32


def top_k(scores: F32, k: int) -> NDArray[np.int64]:
    """Positions of the `k` highest of `scores` (V,), best first; equal scores in order of position.

    Entries of -inf are never returned, so the answer may be shorter than `k`.
    """
    k = min(k, int(np.count_nonzero(scores != -np.inf)))
    if k == 0:
        return np.empty(0, np.int64)
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    # More than k where others tie with the last: the sort, not the partition, decides among them.
    candidates = np.flatnonzero(scores >= threshold)
    return candidates[np.lexsort((candidates, -scores[candidates]))[:k]]
