"""Log of the rows that changed, in one worker's memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_KEPT = 1 << 17


class ChangedRows:
    """Rows in the order of their changes; the oldest are dropped.

    Attributes:
        position: Number of changes so far.
    """

    def __init__(self) -> None:
        self.position = 0
        self._rows = np.zeros(2 * _KEPT, np.int64)
        self._used = 0

    def append(self, rows: list[int]) -> None:
        """Add changed rows."""
        self.position += len(rows)
        new = np.array(rows[-_KEPT:], np.int64)
        if len(new) < len(rows):  # what is kept must have no gap
            self._used = 0
        if self._used + len(new) > len(self._rows):
            kept = self._rows[self._used - _KEPT : self._used].copy()
            self._rows[: len(kept)], self._used = kept, len(kept)
        self._rows[self._used : self._used + len(new)] = new
        self._used += len(new)

    def since(self, position: int) -> NDArray[np.int64] | None:
        """Return the distinct rows that changed after a position.

        None: they are not known any more.
        """
        count = self.position - position
        if count > self._used:
            return None
        return np.unique(self._rows[self._used - count : self._used])
