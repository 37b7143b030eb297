"""Tests of rows: functions that return where they are TRUE."""

from __future__ import annotations

import operator as operators
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.core.catalogue.columns.coded_columns import SetColumn, TextColumn
from service.core.catalogue.columns.typed_columns import NULL_BOOL, NULL_TIME, BoolColumn, NumberColumn, TimeColumn
from service.core.catalogue.expression.text_columns import AnyTextColumn, IdColumn, select_texts, text_ranks
from service.core.catalogue.expression.text_match import TextMatch

Bools = NDArray[np.bool_]
Rows = slice | NDArray[np.int64]
Test = Callable[[Rows], Bools]
PlainColumn = NumberColumn | BoolColumn | TimeColumn
AnyColumn = PlainColumn | AnyTextColumn | SetColumn

NEGATED = {"=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}

_MAX_COMPARED = 5  # constants that are compared one by one, which is faster than looking each row up in a table
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operators.eq,
    "<>": operators.ne,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


def constant_test(value: bool) -> Test:
    """Test that is the same for all rows."""
    return lambda rows: np.full(rows.stop - rows.start if isinstance(rows, slice) else len(rows), value)


def all_test(tests: Sequence[Test]) -> Test:
    """Test that all of several are TRUE."""

    def test(rows: Rows) -> Bools:
        result = tests[0](rows)
        for other in tests[1:]:
            if not result.any():
                break
            result = result & other(rows)
        return result

    return test


def any_test(tests: Sequence[Test]) -> Test:
    """Test that any of several is TRUE."""

    def test(rows: Rows) -> Bools:
        result = tests[0](rows)
        for other in tests[1:]:
            if result.all():
                break
            result = result | other(rows)
        return result

    return test


def constant_comparison(column: PlainColumn, operator: str, value: float) -> Test:
    """Test that compares a column with a constant."""
    compare = _COMPARISONS[operator]
    # NaN compares as FALSE except with <>; the NULL of times and bools is below all values.
    checks_null = operator == "<>" or (operator in ("<", "<=") and not isinstance(column, NumberColumn))

    def test(rows: Rows) -> Bools:
        values = column.values.data[rows]
        result: Bools = compare(values, value)
        return result & _not_null(column, values) if checks_null else result

    return test


def column_comparison(left: AnyColumn, operator: str, right: AnyColumn, whole: bool) -> Test:
    """Test that compares two columns of one type."""
    if isinstance(left, TextColumn | IdColumn) and isinstance(right, TextColumn | IdColumn):
        if whole:
            return partial(_compare_ranks, left, right, text_ranks(left, right), operator)
        return partial(_compare_texts, left, right, operator)
    assert not isinstance(left, TextColumn | IdColumn | SetColumn)  # noqa: S101 - checked before
    assert not isinstance(right, TextColumn | IdColumn | SetColumn)  # noqa: S101 - checked before
    compare = _COMPARISONS[operator]

    def test(rows: Rows) -> Bools:
        one, other = left.values.data[rows], right.values.data[rows]
        result: Bools = compare(one, other)
        return result & _not_null(left, one) & _not_null(right, other)

    return test


def among_test(column: PlainColumn, listed: Sequence[float], negated: bool) -> Test:
    """Test that a column is one of the constants, or none."""
    constants = np.unique(np.array(listed, column.values.data.dtype))

    def test(rows: Rows) -> Bools:
        values = column.values.data[rows]
        if len(constants) <= _MAX_COMPARED:
            found = np.zeros(len(values), np.bool_)
            for constant in constants:
                found |= values == constant
        else:
            found = np.isin(values, constants)
        return ~found & _not_null(column, values) if negated else found

    return test


def text_test(column: AnyTextColumn, match: TextMatch, negated: bool, whole: bool) -> Test:
    """Test that strings match, or do not."""
    if whole:
        return _code_test(column, select_texts(column, match), negated)

    def test(rows: Rows) -> Bools:
        codes = column.codes_of(rows).tolist()
        found = [code > 0 and match.matches(column.entry(code)) is not negated for code in codes]
        return np.array(found, np.bool_)

    return test


def contains_test(column: SetColumn, member: bytes, negated: bool, whole: bool) -> Test:
    """Test that sets have a member, or do not."""
    if whole:
        return _code_test(column, column.sets_with(column.members.find(member)), negated)

    def test(rows: Rows) -> Bools:
        codes, wanted = column.codes_of(rows).tolist(), column.members.find(member)
        found = [code > 0 and (wanted in column.member_codes(code)) is not negated for code in codes]
        return np.array(found, np.bool_)

    return test


def null_test(column: AnyColumn, negated: bool) -> Test:
    """Test that a column is NULL, or is not."""
    if isinstance(column, IdColumn):
        return constant_test(negated)
    if isinstance(column, TextColumn | SetColumn):
        return lambda rows: (column.codes_of(rows) != 0) == negated
    return lambda rows: _not_null(column, column.values.data[rows]) == negated


def _not_null(column: PlainColumn, values: NDArray[Any]) -> Bools:
    result: Bools
    if isinstance(column, NumberColumn):
        result = ~np.isnan(values)
    else:
        result = values != (NULL_TIME if isinstance(column, TimeColumn) else NULL_BOOL)
    return result


def _code_test(column: AnyTextColumn | SetColumn, selected: Bools, negated: bool) -> Test:
    """Test that codes are selected, or neither selected nor NULL."""
    if negated:
        np.logical_not(selected, out=selected)
        selected[0] = False
    if np.count_nonzero(selected) <= _MAX_COMPARED:
        return partial(_has_code, column, np.flatnonzero(selected).astype(np.int32))
    # A code that is newer than `selected` belongs to a row that has changed meanwhile.
    return lambda rows: selected.take(column.codes_of(rows), mode="clip")


def _has_code(column: AnyTextColumn | SetColumn, wanted: NDArray[np.int32], rows: Rows) -> Bools:
    codes = column.codes_of(rows)
    found: Bools = codes == (wanted[0] if len(wanted) else -1)
    for code in wanted[1:]:
        found |= codes == code
    return found


def _compare_ranks(
    left: AnyTextColumn,
    right: AnyTextColumn,
    ranks: Sequence[NDArray[np.int64]],
    operator: str,
    rows: Rows,
) -> Bools:
    one = ranks[0].take(left.codes_of(rows), mode="clip")
    other = ranks[1].take(right.codes_of(rows), mode="clip")
    result: Bools = _COMPARISONS[operator](one, other)
    return result & (one >= 0) & (other >= 0)


def _compare_texts(left: AnyTextColumn, right: AnyTextColumn, operator: str, rows: Rows) -> Bools:
    compare = _COMPARISONS[operator]
    pairs = zip(left.codes_of(rows).tolist(), right.codes_of(rows).tolist(), strict=True)
    found = [one > 0 and other > 0 and compare(left.entry(one), right.entry(other)) for one, other in pairs]
    return np.array(found, np.bool_)
