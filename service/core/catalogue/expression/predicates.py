"""Predicates: conditions whose names and types are checked.

SQL's three-valued logic: a comparison with NULL is NULL, and only TRUE passes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from service.core.catalogue.attributes import AttributeType, normalize, parse_time, to_microseconds
from service.core.catalogue.expression.syntax import ExpressionError

MAX_LIST = 1000

# What a client may pass for a parameter; in a query string everything is a string.
ParameterValue = bool | int | float | str | None | Sequence["bool | int | float | str | None"]
# A constant of the attribute's type: times are microseconds since 1970, strings are NFC.
Constant = bool | float | int | str | None

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NEEDED = {
    AttributeType.BOOL: "true or false",
    AttributeType.NUMBER: "a number",
    AttributeType.STRING: "a string",
    AttributeType.TIME: "a time like 2026-12-24T18:00:00Z, with an offset or Z",
}


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
        name: Its name.
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
    """Put converted values in the place of all parameters."""

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
            return replace(predicate, pattern=constant(predicate.pattern))
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


def convert(parameter: Parameter, given: ParameterValue) -> Constant | tuple[Constant, ...]:
    """Convert what a client passes; raises `ExpressionError`."""
    if not parameter.is_list:
        if given is not None and not isinstance(given, bool | int | float | str):
            raise _refused(parameter, "one value")
        return _convert_one(parameter, given)
    listed = [given] if given is None or isinstance(given, bool | int | float | str) else given
    if not 0 < len(listed) <= MAX_LIST:
        raise _refused(parameter, f"a list of 1 to {MAX_LIST} values")
    return tuple(_convert_one(parameter, one) for one in listed)


def _convert_one(parameter: Parameter, given: bool | int | float | str | None) -> Constant:
    if given is None:
        return None
    match parameter.kind:
        case None:
            return bool(given) if isinstance(given, bool) else str(given)
        case AttributeType.STRING if isinstance(given, str):
            return normalize(given)
        case AttributeType.BOOL if isinstance(given, bool):
            return given
        case AttributeType.BOOL if given in ("true", "false"):
            return given == "true"
        case AttributeType.NUMBER if isinstance(given, int | float) and not isinstance(given, bool):
            return _finite(parameter, given)
        case AttributeType.NUMBER if isinstance(given, str) and _NUMBER.fullmatch(given):
            return _finite(parameter, given)
        case AttributeType.TIME if isinstance(given, str):
            try:
                return to_microseconds(parse_time(given))
            except ValueError:
                pass
    raise _refused(parameter, _NEEDED[parameter.kind])


def _finite(parameter: Parameter, given: float | str) -> float:
    try:
        value = float(given)
    except OverflowError:  # a whole number with hundreds of digits
        value = float("inf")
    if not isfinite(value):
        raise _refused(parameter, "a finite number")
    return value


def _refused(parameter: Parameter, needed: str) -> ExpressionError:
    return ExpressionError(f"parameter :{parameter.name} must be {needed}", parameter.offset)
