"""Instants at which comparisons with now() change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.columns.typed_columns import NULL_TIME, TimeColumn
from service.core.catalogue.expression.predicates import Compare, NowPlus

FOREVER = np.iinfo(np.int64).max
_KEPT = 4096
_Rows = slice | NDArray[np.int64]


class Upcoming:
    """The next instants and their rows, as far as the horizon.

    Attributes:
        evaluated_at: The time for which the rows were evaluated.
        horizon: Instants from then on are not known.
    """

    def __init__(self, tests: list[Compare], columns: ItemColumns, now: int, row_count: int) -> None:
        """Find the next instants of all rows."""
        self._tests = tests
        self.evaluated_at = now
        self.horizon = FOREVER
        self._times, self._rows = self._find(columns, now, slice(0, row_count))
        if len(self._times) > _KEPT:
            self.horizon = int(np.partition(self._times, _KEPT)[_KEPT])
            self._keep(self._times < self.horizon)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self._times.nbytes + self._rows.nbytes

    @property
    def next_change(self) -> int:
        """The next instant, in microseconds."""
        return min(self.horizon, int(self._times.min(initial=FOREVER)))

    def covers(self, now: int) -> bool:
        """Return whether all changes until `now` are known."""
        return self.evaluated_at <= now < self.horizon

    def due(self, now: int) -> NDArray[np.int64]:
        """Return the rows that change until `now`."""
        return self._rows[self._times <= now]

    def advance(self, columns: ItemColumns, now: int, changed: NDArray[np.int64]) -> None:
        """Note that rows were evaluated for `now`."""
        self.evaluated_at = now
        times, rows = self._find(columns, now, changed)
        known = times < self.horizon
        self._times, self._rows = np.append(self._times, times[known]), np.append(self._rows, rows[known])
        self._keep(self._times > now)

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        self._times, self._rows = self._times[kept], self._rows[kept]

    def _find(self, columns: ItemColumns, now: int, rows: _Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        times, found = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for test in self._tests:
            column = columns.column(test.column.name, test.column.kind)
            if not isinstance(column, TimeColumn) or not isinstance(test.operand, NowPlus):
                continue
            values = column.values.data[rows]
            # `value < now` turns TRUE one microsecond after the value, `value <= now` at the value.
            for offset in {"<": (1,), ">=": (1,), "<=": (0,), ">": (0,)}.get(test.operator, (0, 1)):
                change = values - (test.operand.delta - offset)
                later = np.flatnonzero((change > now) & (values != NULL_TIME))
                times.append(change[later])
                found.append(later + rows.start if isinstance(rows, slice) else rows[later])
        return np.concatenate(times), np.concatenate(found)
