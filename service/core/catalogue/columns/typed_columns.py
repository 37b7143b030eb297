"""Columns: one attribute of all items, by row.

A thread may read a column while the event loop writes to it. Arrays are only replaced by larger copies, so such a
thread sees for each row the old or the new value; rows that changed meanwhile are evaluated again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.attributes import AttributeType, from_microseconds, to_microseconds
from service.core.catalogue.columns.coded_columns import SetColumn, TextColumn
from service.core.catalogue.columns.growing_array import GrowingArray

NULL_TIME = np.iinfo(np.int64).min
NULL_BOOL = -1


class _ArrayColumn:
    """Column of one number for each row."""

    _dtype: ClassVar[type[np.generic]]
    _null: ClassVar[float]

    def __init__(self) -> None:
        self.values: GrowingArray[Any] = GrowingArray(self._dtype, self._null)

    @property
    def array(self) -> GrowingArray[Any]:
        """Stored value of each row."""
        return self.values

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.values.nbytes

    def encode(self, values: Sequence[Any]) -> NDArray[Any]:
        """Return what to store for some rows; times are in microseconds."""
        return np.array([self._null if value is None else value for value in values], self._dtype)


class NumberColumn(_ArrayColumn):
    """Numbers; NULL is NaN, because values are finite."""

    _dtype, _null = np.float64, np.nan

    def put(self, row: int, value: Any) -> None:  # noqa: ANN401 - of the column's type
        """Set a row."""
        self.values.set(row, np.nan if value is None else value)

    def get(self, row: int) -> float | None:
        """Return the value of a row, or None."""
        value = float(self.values.data[row])
        return None if value != value else value  # noqa: PLR0124 - NaN


class BoolColumn(_ArrayColumn):
    """True, false or -1 for NULL."""

    _dtype, _null = np.int8, NULL_BOOL

    def put(self, row: int, value: Any) -> None:  # noqa: ANN401 - of the column's type
        """Set a row."""
        self.values.set(row, NULL_BOOL if value is None else value)

    def get(self, row: int) -> bool | None:
        """Return the value of a row, or None."""
        value = self.values.data[row]
        return None if value == NULL_BOOL else bool(value)


class TimeColumn(_ArrayColumn):
    """Microseconds since 1970, UTC; NULL is the smallest number."""

    _dtype, _null = np.int64, NULL_TIME

    def put(self, row: int, value: Any) -> None:  # noqa: ANN401 - of the column's type
        """Set a row."""
        self.values.set(row, NULL_TIME if value is None else to_microseconds(value))

    def get(self, row: int) -> datetime | None:
        """Return the value of a row, or None."""
        value = int(self.values.data[row])
        return None if value == NULL_TIME else from_microseconds(value)


Column = NumberColumn | BoolColumn | TimeColumn | TextColumn | SetColumn

COLUMN_TYPES: Mapping[AttributeType, type[Column]] = {
    AttributeType.BOOL: BoolColumn,
    AttributeType.NUMBER: NumberColumn,
    AttributeType.STRING: TextColumn,
    AttributeType.STRINGS: SetColumn,
    AttributeType.TIME: TimeColumn,
}
