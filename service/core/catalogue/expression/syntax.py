"""Syntax tree of an expression: names and types are not checked yet.

Every node knows the offset in the text where it begins.
"""

from __future__ import annotations

from dataclasses import dataclass


class ExpressionError(Exception):
    """An expression is refused.

    Attributes:
        problem: What is wrong, as a sentence without a full stop.
        offset: Where in the text, in characters.
        suggestion: What may have been meant.
    """

    def __init__(self, problem: str, offset: int, suggestion: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.offset = offset
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Node:
    """Part of an expression."""

    offset: int


@dataclass(frozen=True, slots=True)
class Name(Node):
    """Attribute or reserved name."""

    name: str


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """Constant; None is NULL."""

    value: bool | float | str | None


@dataclass(frozen=True, slots=True)
class ParameterName(Node):
    """Parameter `:name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Now(Node):
    """`now()`, with this many microseconds added."""

    delta: int


Operand = Name | Literal | ParameterName | Now


@dataclass(frozen=True, slots=True)
class Comparison(Node):
    """Two operands and one of = <> < <= > >=."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class InList(Node):
    """`operand IN (values)`."""

    operand: Operand
    values: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class InName(Node):
    """`operand IN name`, or `operand IN :parameter`."""

    operand: Operand
    container: Name | ParameterName


@dataclass(frozen=True, slots=True)
class LikePattern(Node):
    """`operand LIKE pattern ESCAPE escape`."""

    operand: Operand
    pattern: Operand
    escape: Literal | None


@dataclass(frozen=True, slots=True)
class NullCheck(Node):
    """`operand IS NULL`."""

    operand: Operand


@dataclass(frozen=True, slots=True)
class Truth(Node):
    """An operand that stands for a condition."""

    operand: Operand


@dataclass(frozen=True, slots=True)
class Not(Node):
    """Negation."""

    part: Condition


@dataclass(frozen=True, slots=True)
class And(Node):
    """Conjunction."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or(Node):
    """Disjunction."""

    parts: tuple[Condition, ...]


Condition = Comparison | InList | InName | LikePattern | NullCheck | Truth | Not | And | Or
