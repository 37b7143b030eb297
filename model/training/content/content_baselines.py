"""Plain baselines for new items: popularity, and nearest neighbours by content.

popularity     items by their training events; a new item has none
content_knn    sum over the user's 10 newest items of the cosine between the features of two items; items of equal
               content, of which there can be many, are in a random order
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.content.feature_space import Features
from model.training.content.ridge import SparseFeatures
from model.training.evaluation.prefix_ranking import Prefixes

_QUERY_ITEMS = 10


class PopularityScorer:
    """Ranks items by their training events."""

    def __init__(self, popularity: NDArray[np.int64]) -> None:
        """`popularity` is (V + 1,), 0 for a new item."""
        self._scores = torch.from_numpy(popularity.astype(np.float32))

    def scores(self, prefixes: Prefixes) -> Tensor:
        """See `prefix_ranking.Scorer`."""
        return self._scores.expand(len(prefixes.targets), -1)


class ContentKnnScorer:
    """Ranks items by the similarity of their content."""

    def __init__(self, features: Sequence[Features], columns: int) -> None:
        """Normalise the features of the V items; `columns` is their width."""
        unit = [Features(row.columns, row.values / max(1e-9, _length(row))) for row in features]
        self._sparse = SparseFeatures(unit, columns, torch.device("cpu"))
        self._rows = unit
        self._columns = columns
        self._ties = torch.from_numpy(np.random.default_rng(0).random(len(features) + 1) * 1e-9)

    def scores(self, prefixes: Prefixes) -> Tensor:
        """See `prefix_ranking.Scorer`."""
        profiles = torch.zeros(self._columns, len(prefixes.targets), dtype=torch.float64)
        query = 0
        for rows, first in zip(prefixes.rows, prefixes.first, strict=True):
            for end in range(first, len(rows)):
                for row in np.unique(rows[:end][-_QUERY_ITEMS:]):
                    own = self._rows[row - 1]
                    profiles[torch.from_numpy(own.columns), query] += torch.from_numpy(own.values).double()
                query += 1
        similar = (self._sparse.matrix @ profiles).T
        return torch.nn.functional.pad(similar, (1, 0)) + self._ties


def _length(features: Features) -> float:
    return float(np.sqrt(np.square(features.values.astype(np.float64)).sum()))
