"""Parser: sqlglot's tree of an expression becomes our syntax tree.

Everything that our grammar does not have is refused, also an option of a known node.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from sqlglot import exp
from sqlglot.errors import ParseError
from sqlglot.parser import Parser
from sqlglot.tokenizer_core import Token

from service.core.catalogue.expression import syntax
from service.core.catalogue.expression.syntax import ExpressionError
from service.core.catalogue.expression.tokens import Tokens, read_tokens, unexpected

_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_UNIT_MICROSECONDS = {
    "SECOND": 1_000_000,
    "MINUTE": 60_000_000,
    "HOUR": 3_600_000_000,
    "DAY": 86_400_000_000,
    "WEEK": 604_800_000_000,
}
MAX_INTERVAL_DAYS = 36_500
_MAX_INTERVAL = MAX_INTERVAL_DAYS * _UNIT_MICROSECONDS["DAY"]


def parse(text: str) -> syntax.Condition:
    """Parse an expression; raises `ExpressionError`."""
    tokens = read_tokens(text)
    try:
        (tree,) = Parser().parse_into(exp.Condition, tokens.neutral, text)
    except ParseError as error:
        raise _parse_error(error, tokens.written) from None
    if tree is None:
        raise ExpressionError("is not a condition", 0)
    return _Converter(tokens, tree).condition(tree)


def _parse_error(error: ParseError, tokens: Sequence[Token]) -> ExpressionError:
    """Name the token at which sqlglot gave up."""
    found = error.errors[0] if error.errors else {}
    position = (found.get("line"), found.get("col"))
    index = next((index for index, token in enumerate(tokens) if (token.line, token.col) == position), 0)
    if "missing" in str(found.get("description")):  # after this token
        if index + 1 == len(tokens):
            return ExpressionError(f"ends unfinished after {tokens[index].text[:20]!r}", tokens[index].end + 1)
        index += 1
    return unexpected(tokens[index])


class _Converter:
    """Converts the nodes of one expression."""

    def __init__(self, tokens: Tokens, tree: exp.Expr) -> None:
        self._tokens = tokens
        self._offsets: dict[int, int] = {}  # by identity of the node, if it has one
        for node in reversed(list(tree.walk())):  # from the leaves up
            self._add_offset(node)

    def condition(self, node: exp.Expr) -> syntax.Condition:
        offset = self._offset(node)
        if operator := _COMPARISONS.get(type(node)):
            _check_arguments(node, offset, "this", "expression")
            return syntax.Comparison(offset, operator, self._operand(node.this), self._operand(node.expression))
        match node:
            case exp.And() | exp.Or():
                return self._connection(node, offset)
            case exp.Not():
                return syntax.Not(offset, self.condition(node.this))
            case exp.Paren():
                return self.condition(node.this)
            case exp.In():
                return self._membership(node, offset)
            case exp.Between():
                return self._between(node, offset)
            case exp.Like() | exp.Escape():
                return self._like(node, offset)
            case exp.Is():
                return self._null_check(node, offset)
        return syntax.Truth(offset, self._operand(node))

    def _connection(self, node: exp.And | exp.Or, offset: int) -> syntax.Condition:
        parts, kind = [], type(node)
        rest: exp.Expr = node
        while isinstance(rest, kind):  # a chain leans to the left, as deep as it is long
            _check_arguments(rest, offset, "this", "expression")
            parts.append(self.condition(rest.expression))
            rest = rest.this
        parts.append(self.condition(rest))
        return (syntax.And if kind is exp.And else syntax.Or)(offset, tuple(reversed(parts)))

    def _membership(self, node: exp.In, offset: int) -> syntax.Condition:
        operand = self._operand(node.this)
        if (container := node.args.get("field")) is not None:
            _check_arguments(node, offset, "this", "field")
            found = self._operand(container)
            if not isinstance(found, syntax.Name | syntax.ParameterName):
                raise ExpressionError("IN needs a list in parentheses or a set of strings", found.offset)
            return syntax.InName(offset, operand, found)
        _check_arguments(node, offset, "this", "expressions")
        if not node.expressions:
            raise ExpressionError("the list of IN is empty", offset)
        return syntax.InList(offset, operand, tuple(map(self._operand, node.expressions)))

    def _between(self, node: exp.Between, offset: int) -> syntax.Condition:
        _check_arguments(node, offset, "this", "low", "high")
        operand = self._operand(node.this)
        low = syntax.Comparison(offset, ">=", operand, self._operand(node.args["low"]))
        high = syntax.Comparison(offset, "<=", operand, self._operand(node.args["high"]))
        return syntax.And(offset, (low, high))

    def _like(self, node: exp.Like | exp.Escape, offset: int) -> syntax.Condition:
        escape: syntax.Operand | None = None
        if isinstance(node, exp.Escape):
            _check_arguments(node, offset, "this", "expression")
            escape = self._operand(node.expression)
            node = node.this
            if not isinstance(node, exp.Like):
                raise ExpressionError("ESCAPE belongs to LIKE", offset)
        _check_arguments(node, offset, "this", "expression", "negate")
        operand, pattern = self._operand(node.this), self._operand(node.expression)
        if escape is not None and not isinstance(escape, syntax.Literal):
            raise ExpressionError("ESCAPE needs one character in quotation marks", escape.offset)
        like = syntax.LikePattern(offset, operand, pattern, escape)
        return syntax.Not(offset, like) if node.args.get("negate") else like

    def _null_check(self, node: exp.Is, offset: int) -> syntax.Condition:
        _check_arguments(node, offset, "this", "expression")
        if not isinstance(node.expression, exp.Null):
            raise ExpressionError("IS is followed by NULL or NOT NULL only", offset)
        return syntax.NullCheck(offset, self._operand(node.this))

    def _operand(self, node: exp.Expr) -> syntax.Operand:
        offset = self._offset(node)
        match node:
            case exp.Paren():
                return self._operand(node.this)
            case exp.Column(this=exp.Identifier(this=str(name))):
                _check_arguments(node, offset, "this")
                return syntax.Name(offset, self._tokens.name(name).text)
            case exp.Placeholder(this=str(name)):
                return syntax.ParameterName(offset, self._tokens.name(name).text)
            case exp.Null():
                return syntax.Literal(offset, None)
            case exp.Boolean():
                return syntax.Literal(offset, bool(node.this))
            case exp.Literal() | exp.Neg(this=exp.Literal(is_string=False)):
                return syntax.Literal(offset, _constant(node, offset))
            case exp.Anonymous() | exp.Add() | exp.Sub():
                return syntax.Now(offset, self._now(node, offset))
        raise ExpressionError("an attribute, a constant or a parameter is expected here", offset)

    def _now(self, node: exp.Expr, offset: int) -> int:
        """Return the microseconds that an expression adds to now()."""
        sign = isinstance(node, exp.Add) - isinstance(node, exp.Sub)
        if sign:
            _check_arguments(node, offset, "this", "expression")
            node, interval = node.this, node.expression
        if not isinstance(node, exp.Anonymous) or node.expressions:
            raise ExpressionError("only now() can be added to, as in now() - INTERVAL '7' DAY", offset)
        return sign * _interval(interval, offset) if sign else 0

    def _add_offset(self, node: exp.Expr) -> None:
        """Record where a node begins.

        Operators have no position of their own, only what they connect has.
        """
        starts = [start for child in node.iter_expressions() if (start := self._offsets.get(id(child))) is not None]
        if (own := node.meta.get("start")) is not None:
            starts.append(own)
        if isinstance(node, exp.Placeholder):
            starts.append(self._tokens.name(node.name).start - 1)
        if starts:
            self._offsets[id(node)] = min(starts)

    def _offset(self, node: exp.Expr) -> int:
        return self._offsets.get(id(node), 0)


def _check_arguments(node: exp.Expr, offset: int, *allowed: str) -> None:
    """Refuse options of a node that we would otherwise drop."""
    if any(value and name not in allowed for name, value in node.args.items()):
        raise ExpressionError(f"this form of {node.key.upper()} is not supported", offset)


def _constant(node: exp.Expr, offset: int) -> float | str:
    literal = node.this if isinstance(node, exp.Neg) else node
    if literal.is_string:
        return str(literal.this)
    value = float(literal.this)
    if not isfinite(value):
        raise ExpressionError("a number is too large", offset)
    return -value if isinstance(node, exp.Neg) else value


def _interval(node: exp.Expr, offset: int) -> int:
    """Return microseconds."""
    if isinstance(node, exp.Interval) and isinstance(node.this, exp.Literal) and isinstance(node.unit, exp.Var):
        unit = _UNIT_MICROSECONDS.get(node.unit.name.upper().removesuffix("S"))
        try:
            microseconds = round(float(node.this.this) * unit) if unit else None
        except (ValueError, OverflowError):
            microseconds = None
        if microseconds is not None and abs(microseconds) <= _MAX_INTERVAL:
            return microseconds
    raise ExpressionError("an interval is like INTERVAL '7' DAY, in SECOND, MINUTE, HOUR, DAY or WEEK", offset)
