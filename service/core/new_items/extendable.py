"""Items of an engine: trained ones, and those appended since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.core.new_items.encoder_input import ContentEncoder


class Extendable(Protocol):
    """Part of an engine that knows its items.

    The n-th appended item has row V + n, after the V trained ones. A question may answer with it only if its
    `AllowedRows` name the row. A batch sees the items that were there when it began.
    """

    @property
    def item_ids(self) -> Sequence[str]:
        """Items that the model was trained with; the n-th has row n."""
        ...

    def knows(self, item_id: str) -> bool:
        """Return whether the item has an embedding, trained or appended."""
        ...

    @property
    def encoder(self) -> ContentEncoder | None:
        """Encoder of the items to append; None: nothing can be appended."""
        ...

    @property
    def extended(self) -> int:
        """Number of appended items."""
        ...

    def extend(self, first: int, items: Sequence[tuple[str, NDArray[np.float32]]]) -> None:
        """Append items and their vectors (D,), in order; thread-safe.

        `first` is `extended` + 1. Raises `ValueError`, and appends nothing, for another number, for an item that is
        known already, and for vectors that are not the encoder's.
        """
        ...

    def reset_extension(self) -> None:
        """Remove all appended items. States that name their rows are refused then."""
        ...
