"""Checker: names and types of an expression."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from heapq import nlargest
from itertools import pairwise

from service.core.catalogue.attributes import AttributeType, normalize, parse_time, to_microseconds
from service.core.catalogue.expression import predicates, syntax
from service.core.catalogue.expression.predicates import Column, NowPlus, Operand, Parameter, Predicate, Value
from service.core.catalogue.expression.syntax import ExpressionError

RESERVED: Mapping[str, AttributeType] = {
    "item_id": AttributeType.STRING,
    "title": AttributeType.STRING,
    "categories": AttributeType.STRINGS,
    "available": AttributeType.BOOL,
}
MAX_TEXT_SEARCHES = 8  # each may have to read every distinct string of a column
_MAX_NAME, _MAX_COMPARED = 64, 3  # of names that were probably meant

_KIND_NAMES = {
    AttributeType.BOOL: "true or false",
    AttributeType.NUMBER: "a number",
    AttributeType.STRING: "a string",
    AttributeType.STRINGS: "a set of strings",
    AttributeType.TIME: "a time",
}
_FLIPPED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True)
class CheckedFilter:
    """An expression that can be evaluated once its parameters have values."""

    predicate: Predicate
    parameters: Mapping[str, Parameter]


def check(tree: syntax.Condition, types: Mapping[str, AttributeType]) -> CheckedFilter:
    """Check an expression; raises `ExpressionError`.

    Args:
        tree: the expression.
        types: declared attributes.
    """
    checker = _Checker({**types, **RESERVED})
    return CheckedFilter(checker.condition(tree), checker.parameters)


def suggestion(name: str, names: Iterable[str]) -> str | None:
    """Return the known name that was probably meant.

    A comparison of two long names takes 0.3 ms, so only those with the most parts in common are compared.
    """
    wanted = name[:_MAX_NAME].casefold()
    parts = _parts(wanted)

    def common(known: str) -> float:
        others = _parts(known)
        return len(parts & others) / (len(parts) + len(others))

    by_casefold = {known.casefold(): known for known in names}
    close = get_close_matches(wanted, nlargest(_MAX_COMPARED, by_casefold, key=common), n=1)
    return by_casefold[close[0]] if close else None


def _parts(name: str) -> set[str | tuple[str, str]]:
    """Return the letters and pairs of letters of a name."""
    return {*name, *pairwise(name)}


class _Checker:
    """Checks one expression and collects its parameters."""

    def __init__(self, types: Mapping[str, AttributeType]) -> None:
        self._types = types
        self._text_searches = 0
        self.parameters: dict[str, Parameter] = {}

    def condition(self, node: syntax.Condition) -> Predicate:
        match node:
            case syntax.And():
                return predicates.AllOf(tuple(map(self.condition, node.parts)))
            case syntax.Or():
                return predicates.AnyOf(tuple(map(self.condition, node.parts)))
            case syntax.Not():
                return predicates.Negated(self.condition(node.part))
            case syntax.Comparison():
                return self._comparison(node)
            case syntax.InList():
                column = self._scalar(node.operand)
                return predicates.Among(column, tuple(self._constant(value, column) for value in node.values))
            case syntax.InName():
                return self._membership(node)
            case syntax.LikePattern():
                return self._like(node)
            case syntax.NullCheck():
                return self._null_check(node.operand)
            case syntax.Truth():
                return self._truth(node.operand)

    def _comparison(self, node: syntax.Comparison) -> Predicate:
        left, operator, right = node.left, node.operator, node.right
        if not isinstance(left, syntax.Name):
            left, operator, right = right, _FLIPPED[operator], left
        column = self._scalar(left)
        if column.kind is AttributeType.BOOL and operator not in ("=", "<>"):
            raise ExpressionError(f"{column.name!r} is true or false: compare it with = or <>", node.offset)
        if column.kind is AttributeType.STRING and operator not in ("=", "<>"):
            self._count_text_search(node.offset)
        if isinstance(right, syntax.Name):
            other = self._scalar(right)
            if other.kind is not column.kind:
                raise self._mismatch(column, _KIND_NAMES[other.kind], right.offset)
            if column.kind is AttributeType.STRING and operator in ("=", "<>"):
                self._count_text_search(node.offset)
            return predicates.CompareColumns(column, operator, other)
        return predicates.Compare(column, operator, self._constant(right, column))

    def _membership(self, node: syntax.InName) -> Predicate:
        if isinstance(node.container, syntax.ParameterName):
            column = self._scalar(node.operand)
            return predicates.Among(column, (self._parameter(node.container, column.kind, is_list=True),))
        column = self._column(node.container)
        if column.kind is not AttributeType.STRINGS:
            problem = f"{column.name!r} is no set of strings; a list stands in parentheses"
            raise ExpressionError(problem, node.container.offset)
        if isinstance(node.operand, syntax.Name):
            raise ExpressionError("only a string or a parameter can be looked up in a set", node.operand.offset)
        return predicates.Contains(column, self._constant(node.operand, Column(column.name, AttributeType.STRING)))

    def _like(self, node: syntax.LikePattern) -> Predicate:
        column = self._scalar(node.operand)
        if column.kind is not AttributeType.STRING:
            raise self._mismatch(column, "LIKE is for strings", node.operand.offset)
        self._count_text_search(node.offset)
        pattern, escape = self._constant(node.pattern, column), node.escape and node.escape.value
        if node.escape and not (isinstance(escape, str) and len(escape) == 1):
            raise ExpressionError("ESCAPE needs one character in quotation marks", node.escape.offset)
        assert escape is None or isinstance(escape, str)  # noqa: S101 - for the type checker
        like = predicates.Like(column, pattern, escape, node.pattern.offset)
        predicates.check_pattern(like)
        return like

    def _null_check(self, operand: syntax.Operand) -> Predicate:
        match operand:
            case syntax.Name():
                return predicates.IsNull(self._column(operand))
            case syntax.ParameterName():
                return predicates.IsNull(self._parameter(operand, None))
            case syntax.Literal():
                return predicates.Always(operand.value is None)
        return predicates.Always(False)

    def _truth(self, operand: syntax.Operand) -> Predicate:
        match operand:
            case syntax.Name():
                column = self._column(operand)
                if column.kind is AttributeType.BOOL:
                    return predicates.Compare(column, "=", Value(True))
                raise ExpressionError(f"{column.name!r} is {_KIND_NAMES[column.kind]}, no condition", operand.offset)
            case syntax.ParameterName():
                return predicates.IsTrue(self._parameter(operand, AttributeType.BOOL))
            case syntax.Literal(value=None | bool() as value):
                return predicates.Always(value)
        raise ExpressionError("is a value, no condition", operand.offset)

    def _scalar(self, operand: syntax.Operand) -> Column:
        """Return an operand as a column that holds one value."""
        if not isinstance(operand, syntax.Name):
            raise ExpressionError("one side must be an attribute", operand.offset)
        column = self._column(operand)
        if column.kind is AttributeType.STRINGS:
            raise ExpressionError(f"{column.name!r} is a set of strings; write 'x' IN {column.name}", operand.offset)
        return column

    def _column(self, name: syntax.Name) -> Column:
        if kind := self._types.get(name.name):
            return Column(name.name, kind)
        meant = suggestion(name.name, self._types)
        problem = f"no attribute {name.name[:64]!r}" + (f"; did you mean {meant!r}?" if meant else "")
        raise ExpressionError(problem, name.offset, meant)

    def _constant(self, operand: syntax.Operand, column: Column) -> Operand:
        match operand:
            case syntax.ParameterName():
                return self._parameter(operand, column.kind)
            case syntax.Now() if column.kind is AttributeType.TIME:
                return NowPlus(operand.delta)
            case syntax.Now():
                raise self._mismatch(column, "now() is a time", operand.offset)
            case syntax.Literal():
                return Value(self._literal(operand, column))
        raise ExpressionError("a constant or a parameter is expected here", operand.offset)

    def _literal(self, literal: syntax.Literal, column: Column) -> predicates.Constant:
        value = literal.value
        match column.kind, value:
            case _, None:
                return None
            case (AttributeType.BOOL, bool()) | (AttributeType.NUMBER, float()):
                return value
            case AttributeType.STRING, str():
                return normalize(value)
            case AttributeType.TIME, str():
                try:
                    return to_microseconds(parse_time(value))
                except ValueError as error:
                    raise ExpressionError(f"{value[:40]!r} {error}", literal.offset) from None
        given = {bool: "true or false", float: "a number", str: "a string"}[type(value)]
        raise self._mismatch(column, f"the constant is {given}", literal.offset)

    def _parameter(self, named: syntax.ParameterName, kind: AttributeType | None, is_list: bool = False) -> Parameter:
        known = self.parameters.get(named.name)
        if known and kind and known.kind and (known.kind, known.is_list) != (kind, is_list):
            raise ExpressionError(f"parameter :{named.name} is used with two types", named.offset)
        if known is None or known.kind is None:
            known = self.parameters[named.name] = Parameter(named.name, kind, is_list, named.offset)
        return known

    def _count_text_search(self, offset: int) -> None:
        self._text_searches += 1
        if self._text_searches > MAX_TEXT_SEARCHES:
            what = "LIKE, < <= > >= on strings and comparisons of two strings"
            raise ExpressionError(f"has more than {MAX_TEXT_SEARCHES} of {what}", offset)

    def _mismatch(self, column: Column, other: str, offset: int) -> ExpressionError:
        return ExpressionError(f"{column.name!r} is {_KIND_NAMES[column.kind]}, but {other}", offset)
