"""Arrays that grow at their end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

_MIN_CAPACITY = 64
_SLICE = 16_384  # values that are copied at once: some 20 microseconds
_ROOM = 32  # growth begins when this fraction is left free
# Values to copy for each value that is added, so that the copy is complete before the room is used up.
_COPIED_PER_VALUE = 2 * _ROOM


def grown_capacity(needed: int) -> int:
    """Return a capacity that leaves a ninth free."""
    return max(_MIN_CAPACITY, needed + needed // 8)


class GrowingArray(Generic[Scalar]):
    """One-dimensional array with room at its end.

    Before it is full, a larger copy is made, a slice at each `reserve`, and then replaces it. So no call takes long.
    A thread that took `data` before keeps a valid array; later values may be missing from it.

    Attributes:
        data: The array; beyond the used length it holds the fill value. Write with `set` or `write`.
    """

    def __init__(self, dtype: type[Scalar], fill: Any = 0) -> None:  # noqa: ANN401 - any value of the dtype
        self.fill = fill
        self.data: NDArray[Scalar] = np.full(0, fill, dtype)
        self._larger: NDArray[Scalar] | None = None
        self._copied = 0  # values of the larger array that are set

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.data.nbytes + (0 if self._larger is None else self._larger.nbytes)

    def set(self, index: int, value: Any) -> None:  # noqa: ANN401 - any value of the dtype
        """Set one value."""
        self.data[index] = value
        if self._larger is not None:
            self._larger[index] = value

    def write(self, indices: slice | NDArray[np.int64], values: Any) -> None:  # noqa: ANN401 - as `set`
        """Set several values."""
        self.data[indices] = values
        if self._larger is not None:
            self._larger[indices] = values

    def update(self, indices: NDArray[np.int64], values: Any) -> None:  # noqa: ANN401 - as `set`
        """Set those of several values that are other ones.

        A page that workers share is copied at the first write to it.
        """
        old, new = self.data[indices], np.broadcast_to(np.asarray(values, self.data.dtype), len(indices))
        is_other = old != new
        if self.data.dtype.kind == "f":
            is_other &= (old == old) | (new == new)  # noqa: PLR0124 - NaN is no other value than NaN
        if not is_other.all():
            indices, new = indices[is_other], new[is_other]
        self.write(indices, new)

    def reserve(self, length: int, added: int = 1) -> None:
        """Make room for `length` values, of which `added` are new."""
        if self._larger is not None:
            self._copy(max(_SLICE, _COPIED_PER_VALUE * added))
        if length > len(self.data):
            self.resize(grown_capacity(length))
        elif self._larger is None and length > len(self.data) - len(self.data) // _ROOM > _SLICE:
            self.begin(grown_capacity(len(self.data)))

    def begin(self, capacity: int) -> None:
        """Begin to grow to a capacity."""
        self._larger, self._copied = np.empty(capacity, self.data.dtype), 0

    def advance(self, count: int = _SLICE) -> bool:
        """Go on to grow; return whether that is complete."""
        if self._larger is not None:
            self._copy(count)
        return self._larger is None

    def resize(self, capacity: int) -> None:
        """Grow to `capacity` values at once, if there are fewer."""
        if capacity <= len(self.data):
            return
        larger = np.empty(capacity, self.data.dtype)
        larger[: len(self.data)] = self.data
        larger[len(self.data) :] = self.fill
        self.data, self._larger = larger, None

    def _copy(self, count: int) -> None:
        larger = self._larger
        assert larger is not None  # noqa: S101 - checked by the callers
        first, end, known = self._copied, min(self._copied + count, len(larger)), len(self.data)
        larger[first : min(end, known)] = self.data[first:end]
        larger[max(first, known) : end] = self.fill
        self._copied = end
        if end == len(larger):
            self.data, self._larger = larger, None


class GrownTogether:
    """Makes room in arrays that have a value for each row.

    Before the room is used up, one array after the other grows, a slice at each `reserve`. So no call takes long,
    and only one array is in memory twice.
    """

    def __init__(self, arrays: Callable[[], Sequence[GrowingArray[Any]]]) -> None:
        """Create it for the arrays that `arrays` returns."""
        self._arrays = arrays
        self._capacity = self._next_capacity = min(len(array.data) for array in arrays())
        self._growing: list[GrowingArray[Any]] = []

    def reserve(self, rows: int, added: int = 1) -> None:
        """Make room for so many rows, of which `added` are new."""
        if rows > self._capacity:
            self._capacity = self._next_capacity = grown_capacity(rows)
            self._growing = []
            for array in self._arrays():
                array.resize(self._capacity)
        elif self._growing:
            self._advance(added)
        elif rows > self._capacity - self._capacity // _ROOM > _SLICE:
            self._next_capacity = grown_capacity(self._capacity)
            self._growing = list(self._arrays())
            self._growing[-1].begin(self._next_capacity)

    def adopt(self, array: GrowingArray[Any]) -> None:
        """Make room in an array that is new among them."""
        if len(array.data) < self._next_capacity:
            array.resize(self._next_capacity)

    def _advance(self, added: int) -> None:
        for _ in range(1 + added * _COPIED_PER_VALUE * len(self._arrays()) // _SLICE):
            if not self._growing[-1].advance(_SLICE):
                continue
            self._growing.pop()
            if not self._growing:
                self._capacity = self._next_capacity
                return
            self._growing[-1].begin(self._next_capacity)
