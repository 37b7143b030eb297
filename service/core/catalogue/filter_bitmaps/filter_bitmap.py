"""Filter as a bitmap of one model's rows, kept up to date."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.expression.evaluation import evaluate_all, evaluate_rows, now_comparisons
from service.core.catalogue.expression.predicates import Predicate
from service.core.catalogue.filter_bitmaps.changed_rows import ChangedRows
from service.core.catalogue.filter_bitmaps.model_rows import ModelRows, patched
from service.core.catalogue.filter_bitmaps.time_limits import Upcoming
from service.core.engine_requests import AllowedRows

MAX_ROWS_AT_ONCE = 512  # evaluated on the event loop
_FEW = 2048  # rows whose strings are looked at one by one; all distinct ones may take 0.4 s
_OVERHEAD_BYTES = 1024
_FULL_SHARE = 8  # if more than this fraction of the rows changed, all are evaluated
_NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Source:
    """Items to evaluate filters on, and their changes."""

    columns: ItemColumns
    changes: ChangedRows


@dataclass(slots=True)
class Evaluation:
    """Evaluation of all rows, or of those that changed.

    Attributes:
        now: The time of now().
        base: Number of evaluations before this one.
        position: Position that it will be at.
        rows: The rows; None for all.
        row_count: Number of rows of the columns to evaluate, if all.
        count: Number of the model's items then.
        allowed: The outcome.
        upcoming: The next instants after an evaluation of all rows.
    """

    now: int
    base: int
    position: int
    rows: NDArray[np.int64] | None
    row_count: int
    count: int
    allowed: AllowedRows
    upcoming: Upcoming | None = None


class FilterBitmap:
    """Allowed rows of one model under one predicate, as a bitmap.

    They are those at a position of the change log. `start`, `finish` and `catch_up` run on the event loop, `evaluate`
    in any thread: a row that changes meanwhile is in the log, and evaluated again.

    Attributes:
        allowed: The allowed rows; none before the first evaluation.
    """

    def __init__(self, source: Source, model: ModelRows, predicate: Predicate | None) -> None:
        self._source = source
        self._model = model
        self._predicate = predicate
        self._comparisons = [] if predicate is None else list(now_comparisons(predicate))
        self._position = _NOWHERE
        self._evaluations = 0
        self._upcoming: Upcoming | None = None
        self.allowed = AllowedRows(np.zeros(0, np.uint32), 0)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.allowed.bitmap.nbytes + (self._upcoming.nbytes if self._upcoming else 0) + _OVERHEAD_BYTES

    @property
    def result(self) -> AllowedRows | None:
        """The allowed rows; None if they are all, and none is appended."""
        return None if self.allowed.count == self._model.trained == self._model.count else self.allowed

    def start(self, now: int) -> Evaluation:
        """Decide which rows to evaluate."""
        rows = self._changed(now)
        if rows is not None and len(rows) > self._model.columns_rows(self._source.columns) // _FULL_SHARE:
            rows = None
        return self._evaluation(now, rows)

    def _evaluation(self, now: int, rows: NDArray[np.int64] | None) -> Evaluation:
        row_count = self._model.columns_rows(self._source.columns)
        position, count = self._source.changes.position, self._model.count
        return Evaluation(now, self._evaluations, position, rows, row_count, count, self.allowed)

    def evaluate(self, evaluation: Evaluation) -> None:
        """Evaluate the rows."""
        columns, predicate, now = self._source.columns, self._predicate, evaluation.now
        if evaluation.rows is not None:
            rows, model_rows = self._model.select(evaluation.rows)
            passes = columns.shown.data[rows] != 0
            if predicate is not None and len(rows):
                passes &= evaluate_rows(predicate, columns, now, rows, one_by_one=len(rows) <= _FEW)
            evaluation.allowed = patched(evaluation.allowed, model_rows, passes, self._model)
            return
        passes = columns.shown.data[: evaluation.row_count] != 0
        if predicate is not None:
            passes &= evaluate_all(predicate, columns, now, evaluation.row_count)
        evaluation.allowed = self._model.allowed(passes, evaluation.allowed.lineage, evaluation.count)
        if self._comparisons:
            evaluation.upcoming = Upcoming(self._comparisons, columns, now, evaluation.row_count)

    def finish(self, evaluation: Evaluation) -> None:
        """Take over the outcome, unless another evaluation was faster."""
        if evaluation.base != self._evaluations:
            return
        self._evaluations += 1
        self.allowed, self._position = evaluation.allowed, evaluation.position
        if evaluation.rows is None:
            self._upcoming = evaluation.upcoming
        elif self._upcoming:
            self._upcoming.advance(self._source.columns, evaluation.now, evaluation.rows)

    def catch_up(self, now: int, at_most: int = MAX_ROWS_AT_ONCE) -> bool:
        """Bring the bitmap up to date if that is little work.

        Returns whether it is up to date.
        """
        is_current = self._position == self._source.changes.position
        if is_current and (self._upcoming is None or self._upcoming.is_valid(now)):
            return True
        rows = self._changed(now)
        if rows is None or (len(rows) > at_most and self._predicate is not None):
            return False
        evaluation = self._evaluation(now, rows)
        self.evaluate(evaluation)
        self.finish(evaluation)
        return True

    def _changed(self, now: int) -> NDArray[np.int64] | None:
        """Return the rows that changed; None if all may have."""
        if self._position == _NOWHERE or (self._upcoming and not self._upcoming.covers(now)):
            return None
        rows = self._source.changes.since(self._position)
        if rows is None or self._upcoming is None:
            return rows
        return np.union1d(rows, self._upcoming.due(now))
