"""Predicates: conditions whose names and types are checked.

SQL's three-valued logic: a comparison with NULL is NULL, and only TRUE passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.expression.text_match import LikeMatch

# A constant of the attribute's type: times are microseconds since 1970, strings are NFC.
Constant = bool | float | int | str | None


@dataclass(frozen=True, slots=True)
class Column:
    """An attribute of a type, or a reserved name."""

    name: str
    kind: AttributeType


@dataclass(frozen=True, slots=True)
class Value:
    """Constant of the column's type."""

    value: Constant


@dataclass(frozen=True, slots=True)
class Parameter:
    """Constant that each request gives.

    Attributes:
        kind: Its type; None if any will do.
        is_list: Whether it is a list of such values.
        offset: Where the expression names it.
    """

    name: str
    kind: AttributeType | None
    is_list: bool
    offset: int


@dataclass(frozen=True, slots=True)
class NowPlus:
    """The time of the evaluation, plus microseconds."""

    delta: int


Operand = Value | Parameter | NowPlus


@dataclass(frozen=True, slots=True)
class Always:
    """Constant condition; None is NULL."""

    value: bool | None


@dataclass(frozen=True, slots=True)
class Compare:
    """A column and a constant."""

    column: Column
    operator: str
    operand: Operand


@dataclass(frozen=True, slots=True)
class CompareColumns:
    """Two columns of one type."""

    left: Column
    operator: str
    right: Column


@dataclass(frozen=True, slots=True)
class Among:
    """A column's value is one of the constants."""

    column: Column
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """A set holds the string."""

    column: Column
    operand: Operand


@dataclass(frozen=True, slots=True)
class Like:
    """A string matches a pattern."""

    column: Column
    pattern: Operand
    escape: str | None
    offset: int


@dataclass(frozen=True, slots=True)
class IsNull:
    """A column or parameter is NULL."""

    operand: Column | Parameter


@dataclass(frozen=True, slots=True)
class IsTrue:
    """A parameter of type bool."""

    operand: Operand


@dataclass(frozen=True, slots=True)
class Negated:
    """NOT."""

    part: Predicate


@dataclass(frozen=True, slots=True)
class AllOf:
    """AND."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """OR."""

    parts: tuple[Predicate, ...]


Predicate = Always | Compare | CompareColumns | Among | Contains | Like | IsNull | IsTrue | Negated | AllOf | AnyOf


def bind(predicate: Predicate, values: Mapping[str, Constant | tuple[Constant, ...]]) -> Predicate:
    """Replace all parameters by converted values."""

    def constant(operand: Operand) -> Operand:
        return Value(values[operand.name]) if isinstance(operand, Parameter) else operand  # type: ignore[arg-type]

    match predicate:
        case AllOf(parts) | AnyOf(parts):
            return type(predicate)(tuple(bind(part, values) for part in parts))
        case Negated(part):
            return Negated(bind(part, values))
        case Compare() | Contains():
            return replace(predicate, operand=constant(predicate.operand))
        case Like():
            bound = replace(predicate, pattern=constant(predicate.pattern))
            check_pattern(bound)
            return bound
        case Among(column, (Parameter(name, is_list=True),)):
            listed = values[name]
            assert isinstance(listed, tuple)  # noqa: S101 - `convert` made it
            return Among(column, tuple(map(Value, listed)))
        case Among():
            return replace(predicate, operands=tuple(map(constant, predicate.operands)))
        case IsNull(Parameter(name)):
            return Always(values[name] is None)
        case IsTrue(operand):
            found = constant(operand)
            assert isinstance(found, Value)  # noqa: S101 - conditions are never times
            return Always(None if found.value is None else bool(found.value))
    return predicate


def check_pattern(like: Like) -> None:
    """Refuse an unfinished escape in a pattern that is known."""
    if isinstance(like.pattern, Value) and isinstance(like.pattern.value, str):
        LikeMatch(like.pattern.value, like.escape, like.offset)
