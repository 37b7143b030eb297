"""Instants at which comparisons with now() change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.columns.typed_columns import TimeColumn
from service.core.catalogue.expression.predicates import Compare, NowPlus

FOREVER = np.iinfo(np.int64).max
_KEPT = 4096
_MAX_KEPT = 4  # with this many times as many instants, the horizon is brought nearer
_SAMPLE = 16384
_OFFSETS = {"<": (1,), ">=": (1,), "<=": (0,), ">": (0,), "=": (0, 1), "<>": (0, 1)}
_Rows = slice | NDArray[np.int64]


class Upcoming:
    """The next instants and their rows, as far as the horizon.

    Attributes:
        evaluated_at: The time for which the rows were evaluated.
        horizon: Instants from then on are not known.
        next_change: The next instant.
    """

    def __init__(self, tests: list[Compare], columns: ItemColumns, now: int, row_count: int) -> None:
        """Find the next instants of all rows."""
        self._tests = tests
        self.evaluated_at = now
        self.horizon = FOREVER
        self.horizon = self._choose_horizon(columns, row_count)
        self._times, self._rows = self._find(columns, now, slice(0, row_count))
        self.next_change = self._next()

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self._times.nbytes + self._rows.nbytes

    def is_valid(self, now: int) -> bool:
        """Return whether no row changes between the evaluation and `now`."""
        return self.evaluated_at <= now < self.next_change

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
        kept = self._times > now
        self._times, self._rows = np.append(self._times[kept], times), np.append(self._rows[kept], rows)
        if len(self._times) > _MAX_KEPT * _KEPT:
            self.horizon = int(np.partition(self._times, _KEPT)[_KEPT])
            early = self._times < self.horizon
            self._times, self._rows = self._times[early], self._rows[early]
        self.next_change = self._next()

    def _next(self) -> int:
        return min(self.horizon, int(self._times.min(initial=FOREVER)))

    def _choose_horizon(self, columns: ItemColumns, row_count: int) -> int:
        """Choose a time before which some `_KEPT` rows change, from a sample."""
        stride = max(1, row_count // _SAMPLE)
        times = self._find(columns, self.evaluated_at, slice(0, row_count, stride))[0]
        last = max(1, _KEPT // stride)
        return int(np.partition(times, last)[last]) if len(times) > last else FOREVER

    def _find(self, columns: ItemColumns, now: int, rows: _Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the instants until the horizon, and their rows."""
        times, found = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for test in self._tests:
            column = columns.column(test.column.name, test.column.kind)
            if not isinstance(column, TimeColumn) or not isinstance(test.operand, NowPlus):
                continue
            values = column.values.data[rows]
            # `value < now` turns TRUE one microsecond after the value, `value <= now` at the value.
            for offset in _OFFSETS[test.operator]:
                shift = test.operand.delta - offset
                later = np.flatnonzero((values > now + shift) & (values < min(self.horizon + shift, FOREVER)))
                times.append(values[later] - shift)
                found.append(later * (rows.step or 1) + rows.start if isinstance(rows, slice) else rows[later])
        return np.concatenate(times), np.concatenate(found)
