"""Array that grows at its end."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

_MIN_CAPACITY = 64


def grown_capacity(needed: int) -> int:
    """Return a capacity that leaves an eighth free."""
    return max(_MIN_CAPACITY, needed + needed // 8)


class GrowingArray(Generic[Scalar]):
    """One-dimensional array with room at its end.

    When it is full, a larger copy replaces it.

    A thread that took `data` before keeps a valid array; later values may be missing from it.

    Attributes:
        data: The array; beyond the used length it holds the fill value.
    """

    def __init__(self, dtype: type[Scalar], fill: Any = 0) -> None:  # noqa: ANN401 - any value of the dtype
        self._fill = fill
        self.data: NDArray[Scalar] = np.full(0, fill, dtype)

    def reserve(self, length: int) -> NDArray[Scalar]:
        """Make room for `length` values and return the array."""
        if length > len(self.data):
            self.resize(grown_capacity(length))
        return self.data

    def resize(self, capacity: int) -> None:
        """Make room for exactly `capacity` values."""
        larger = np.full(capacity, self._fill, self.data.dtype)
        larger[: len(self.data)] = self.data
        self.data = larger
