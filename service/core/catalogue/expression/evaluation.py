"""Evaluation of a predicate on columns.

Only TRUE counts, so NOT is moved down to the tests: each of them knows when it is TRUE, and when it is FALSE.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.columns.coded_columns import SetColumn, TextColumn, encode_text
from service.core.catalogue.columns.item_columns import ItemColumns
from service.core.catalogue.expression import predicates
from service.core.catalogue.expression.predicates import Column, NowPlus, Operand, Predicate, Value
from service.core.catalogue.expression.row_tests import (
    NEGATED,
    AnyColumn,
    Test,
    all_test,
    among_test,
    any_test,
    column_comparison,
    constant_comparison,
    constant_test,
    contains_test,
    null_test,
    text_test,
)
from service.core.catalogue.expression.text_columns import IdColumn
from service.core.catalogue.expression.text_match import AmongMatch, LikeMatch, OrderedMatch, TextMatch

_BLOCK_ROWS = 1 << 15  # so that a block's intermediate results stay in the cache of a core


def evaluate_all(predicate: Predicate, columns: ItemColumns, now: int, row_count: int) -> NDArray[np.bool_]:
    """Return for all rows below `row_count` whether the predicate is TRUE.

    May run in a thread while rows are written; see `typed_columns`.

    Args:
        predicate: without parameters.
        columns: the items.
        now: the time in microseconds.
        row_count: number of rows.
    """
    test = _TestBuilder(columns, now, whole=True).build(predicate, negated=False)
    result = np.empty(row_count, np.bool_)
    for start in range(0, row_count, _BLOCK_ROWS):
        rows = slice(start, min(start + _BLOCK_ROWS, row_count))
        result[rows] = test(rows)
    return result


def evaluate_rows(
    predicate: Predicate, columns: ItemColumns, now: int, rows: NDArray[np.int64], one_by_one: bool
) -> NDArray[np.bool_]:
    """Return for some rows whether the predicate is TRUE.

    With `one_by_one` only the strings of these rows are looked at, else all distinct ones of a column at once.
    """
    return _TestBuilder(columns, now, whole=not one_by_one).build(predicate, negated=False)(rows)


def now_comparisons(predicate: Predicate) -> Iterator[predicates.Compare]:
    """Yield the comparisons with now()."""
    match predicate:
        case predicates.AllOf(parts) | predicates.AnyOf(parts):
            for part in parts:
                yield from now_comparisons(part)
        case predicates.Negated(part):
            yield from now_comparisons(part)
        case predicates.Compare(operand=NowPlus()):
            yield predicate


class _TestBuilder:
    """Builds the test of a predicate.

    A test of the whole columns first looks at each distinct string or set, any other at those of its rows.
    """

    def __init__(self, columns: ItemColumns, now: int, whole: bool) -> None:
        self._columns = columns
        self._now = now
        self._whole = whole

    def build(self, predicate: Predicate, negated: bool) -> Test:
        """Build the test for TRUE, or for FALSE."""
        match predicate:
            case predicates.AllOf(parts) | predicates.AnyOf(parts):
                tests = [self.build(part, negated) for part in parts]
                return (all_test if isinstance(predicate, predicates.AllOf) is not negated else any_test)(tests)
            case predicates.Negated(part):
                return self.build(part, not negated)
            case predicates.Always(value):
                return constant_test(value is not None and value is not negated)
            case predicates.IsNull(Column() as named):
                column = self._find(named)
                return constant_test(not negated) if column is None else null_test(column, negated)
            case predicates.CompareColumns():
                return self._column_comparison(predicate, negated)
            case predicates.Compare():
                return self._comparison(predicate, negated)
            case predicates.Among():
                return self._among(predicate, negated)
            case predicates.Contains():
                return self._contains(predicate, negated)
            case predicates.Like():
                pattern = _value(predicate.pattern)
                match_all = None if pattern is None else LikeMatch(pattern, predicate.escape, predicate.offset)
                return self._text_test(predicate.column, match_all, negated)
        raise TypeError(f"{predicate} has parameters without values")

    def _find(self, column: Column) -> AnyColumn | None:
        if column.name == "item_id":
            return IdColumn(self._columns)
        return self._columns.column(column.name, column.kind)

    def _comparison(self, predicate: predicates.Compare, negated: bool) -> Test:
        operand, operator = predicate.operand, predicate.operator
        value: Any = self._now + operand.delta if isinstance(operand, NowPlus) else _value(operand)
        if value is None:
            return constant_test(False)
        if predicate.column.kind is AttributeType.STRING:
            text = encode_text(value)
            if operator in ("=", "<>"):
                return self._text_test(predicate.column, AmongMatch(frozenset([text])), negated is (operator == "="))
            return self._text_test(predicate.column, OrderedMatch(operator, text), negated)
        column = self._find(predicate.column)
        if column is None:
            return constant_test(False)
        assert not isinstance(column, TextColumn | IdColumn | SetColumn)  # noqa: S101 - the checker saw to that
        return constant_comparison(column, NEGATED[operator] if negated else operator, value)

    def _column_comparison(self, predicate: predicates.CompareColumns, negated: bool) -> Test:
        left, right = self._find(predicate.left), self._find(predicate.right)
        if left is None or right is None:
            return constant_test(False)
        operator = NEGATED[predicate.operator] if negated else predicate.operator
        return column_comparison(left, operator, right, self._whole)

    def _among(self, predicate: predicates.Among, negated: bool) -> Test:
        values = [_value(operand) for operand in predicate.operands]
        known = [value for value in values if value is not None]
        if negated and len(known) < len(values):  # NOT (x IN (1, NULL)) is never TRUE
            return constant_test(False)
        if predicate.column.kind is AttributeType.STRING:
            return self._text_test(predicate.column, AmongMatch(frozenset(map(encode_text, known))), negated)
        column = self._find(predicate.column)
        if column is None:
            return constant_test(False)
        assert not isinstance(column, TextColumn | IdColumn | SetColumn)  # noqa: S101 - the checker saw to that
        return among_test(column, known, negated)

    def _contains(self, predicate: predicates.Contains, negated: bool) -> Test:
        column, value = self._find(predicate.column), _value(predicate.operand)
        if column is None or value is None:
            return constant_test(False)
        assert isinstance(column, SetColumn)  # noqa: S101 - the checker saw to that
        return contains_test(column, encode_text(value), negated, self._whole)

    def _text_test(self, named: Column, match: TextMatch | None, negated: bool) -> Test:
        column = self._find(named)
        if column is None or match is None:
            return constant_test(False)
        assert isinstance(column, TextColumn | IdColumn)  # noqa: S101 - the checker saw to that
        return text_test(column, match, negated, self._whole)


def _value(operand: Operand) -> Any:  # noqa: ANN401 - of the column's type
    assert isinstance(operand, Value)  # noqa: S101 - parameters are bound
    return operand.value
