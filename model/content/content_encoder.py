"""Content encoder: the vector of an item from its content.

A linear map of the features, so that an item's vector is the sum of what training learnt about each of its values and
words. It is the reference: training computes the same in PyTorch, the service calls this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.content.feature_space import FeatureSpace
from model.content.item_content import ItemContent


@dataclass(frozen=True, slots=True, eq=False)
class ContentEncoder:
    """Encoder of items that have no trained embedding.

    Attributes:
        space: the features.
        weights: (C, D) float32, vector of each column.
        bias: (D,) float32, added to the vector of every item.
    """

    space: FeatureSpace
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        return len(self.bias)

    def encode(self, content: ItemContent) -> NDArray[np.float32] | None:
        """Return the vector (D,) of an item.

        None: nothing in its content is known.
        The sum is in float64 and in the order of the columns, so equal content has an equal vector.
        """
        features = self.space.features(content)
        if not len(features.columns):
            return None
        order = np.argsort(features.columns, kind="stable")
        rows = self.weights[features.columns[order]].astype(np.float64)
        total = (features.values[order].astype(np.float64)[:, None] * rows).sum(0) + self.bias
        vector: NDArray[np.float32] = total.astype(np.float32)
        return vector

    def encode_all(self, contents: Sequence[ItemContent]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Encode several items.

        Returns:
            (N, D) vectors, 0 for an item without one, and (N,) whether an item has one.
        """
        vectors = np.zeros((len(contents), self.dim), np.float32)
        has_vector = np.zeros(len(contents), np.bool_)
        for index, content in enumerate(contents):
            if (vector := self.encode(content)) is not None:
                vectors[index], has_vector[index] = vector, True
        return vectors, has_vector
