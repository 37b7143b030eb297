"""Filter that is compiled for one model, and follows the changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.change_log import ChangeLog
from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.expression.evaluation import evaluate_all, evaluate_rows, now_comparisons
from service.core.catalogue.expression.predicates import Predicate
from service.core.catalogue.model_rows import ModelRows, patched
from service.core.catalogue.time_limits import Upcoming
from service.core.engine_requests import AllowedRows

MAX_ROWS_AT_ONCE = 512  # evaluated on the event loop
_FEW = 64  # rows that are looked at one by one
_OVERHEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Source:
    """Items to evaluate filters on, and their changes."""

    columns: ItemColumns
    changes: ChangeLog


class CompiledFilter:
    """Allowed rows of one model under one predicate.

    They are those at a position of the change log.

    Attributes:
        allowed: The allowed rows.
    """

    def __init__(self, source: Source, model: ModelRows, predicate: Predicate | None, now: int) -> None:
        """Prepare a compilation, on the event loop."""
        self._source = source
        self._model = model
        self._predicate = predicate
        self._position = source.changes.position
        self._now = now
        self._row_count = model.columns_rows(source.columns)
        self._upcoming: Upcoming | None = None
        self.allowed: AllowedRows

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.allowed.bitmap.nbytes + (self._upcoming.nbytes if self._upcoming else 0) + _OVERHEAD_BYTES

    @property
    def result(self) -> AllowedRows | None:
        """The allowed rows; None if they are all."""
        return None if self.allowed.count == self._model.count else self.allowed

    def compile(self) -> None:
        """Evaluate all rows, in any thread.

        A row that changes meanwhile is evaluated again by `catch_up`.
        """
        columns, predicate = self._source.columns, self._predicate
        passes = columns.shown.data[: self._row_count] != 0
        if predicate is not None:
            passes &= evaluate_all(predicate, columns, self._now, self._row_count)
            if tests := list(now_comparisons(predicate)):
                self._upcoming = Upcoming(tests, columns, self._now, self._row_count)
        self.allowed = self._model.allowed(passes)

    def catch_up(self, now: int, at_most: int = MAX_ROWS_AT_ONCE) -> bool:
        """Evaluate the rows that have changed, on the event loop.

        Returns whether the filter is up to date. If not, it has to be compiled anew.
        """
        changes, upcoming = self._source.changes, self._upcoming
        is_current = self._position == changes.position
        if upcoming is None:
            if is_current:
                return True
        elif not upcoming.covers(now):
            return False
        elif is_current and now < upcoming.next_change:
            upcoming.evaluated_at = now
            return True
        rows = changes.since(self._position)
        if rows is None:
            return False
        if upcoming:
            rows = np.union1d(rows, upcoming.due(now))
        if len(rows) > at_most and self._predicate is not None:
            return False
        self._evaluate(rows, now)
        self._position = changes.position
        return True

    def _evaluate(self, rows: NDArray[np.int64], now: int) -> None:
        columns = self._source.columns
        rows, model_rows = self._model.select(rows)
        passes = columns.shown.data[rows] != 0
        if self._predicate is not None and len(rows):
            passes &= evaluate_rows(self._predicate, columns, now, rows, one_by_one=len(rows) <= _FEW)
        self.allowed = patched(self.allowed, model_rows, passes)
        if self._upcoming:
            self._upcoming.advance(columns, now, rows)
