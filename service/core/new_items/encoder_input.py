"""Content of an item, and what computes a vector from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ItemContent:
    """Content of one item; everything is optional.

    Attributes:
        title: Its title.
        categories: Its categories.
        attributes: Values by name.
        vector: The shop's own vector of the item, float32.
    """

    title: str | None = None
    categories: Sequence[str] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    vector: NDArray[np.float32] | None = None


class ContentEncoder(Protocol):
    """Part of a model that computes vectors of new items.

    Deterministic and thread-safe.
    """

    def encode_all(self, contents: Sequence[ItemContent]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Encode several items.

        Returns:
            (N, D) vectors, and (N,) whether an item has one: nothing in its content may be known to the model.
        """
        ...
