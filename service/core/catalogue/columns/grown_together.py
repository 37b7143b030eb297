"""Room for rows in several arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from service.core.catalogue.columns.growing_array import GrowingArray, grown_capacity

_ROOM = 32  # growth begins when this fraction is left free
_SLICE = 16_384  # values
# Values to copy for each row that is added: all arrays are complete before the room is used up.
_COPIED_PER_ROW = 2 * _ROOM
_ALL_AT_ONCE = 16_384  # rows


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
        elif rows > self._capacity - self._capacity // _ROOM > _ALL_AT_ONCE:
            self._next_capacity = grown_capacity(self._capacity)
            self._growing = list(self._arrays())
            self._growing[-1].begin(self._next_capacity)

    def adopt(self, array: GrowingArray[Any]) -> None:
        """Make room in an array that is new among them."""
        if len(array.data) < self._next_capacity:
            array.resize(self._next_capacity)

    def _advance(self, added: int) -> None:
        for _ in range(1 + added * _COPIED_PER_ROW * len(self._arrays()) // _SLICE):
            if not self._growing[-1].advance(_SLICE):
                continue
            self._growing.pop()
            if not self._growing:
                self._capacity = self._next_capacity
                return
            self._growing[-1].begin(self._next_capacity)
