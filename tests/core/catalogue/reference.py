"""Plain evaluation of an expression on one item, with SQL's three-valued logic."""

from __future__ import annotations

import operator
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from service.core.catalogue.attributes import parse_time
from service.core.catalogue.expression import syntax
from service.core.catalogue.items import Item

COMPARISONS = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Reference:
    """Evaluates expressions on items that are available or have no entry."""

    def __init__(self, parameters: Mapping[str, Any], now: datetime) -> None:
        self._parameters = parameters
        self._now = now

    def holds(self, node: syntax.Condition, item_id: str, item: Item | None) -> bool | None:
        match node:
            case syntax.And():
                results = [self.holds(part, item_id, item) for part in node.parts]
                return False if False in results else None if None in results else True
            case syntax.Or():
                results = [self.holds(part, item_id, item) for part in node.parts]
                return True if True in results else None if None in results else False
            case syntax.Not():
                result = self.holds(node.part, item_id, item)
                return None if result is None else not result
            case syntax.NullCheck():
                return self._value(node.operand, item_id, item) is None
            case syntax.Truth():
                return self._value(node.operand, item_id, item)
            case syntax.Comparison():
                return self._compare(node.operator, node.left, node.right, item_id, item)
            case syntax.InList():
                results = [self._compare("=", node.operand, value, item_id, item) for value in node.values]
                return True if True in results else None if None in results else False
            case syntax.InName(container=syntax.ParameterName()):
                values = [syntax.Literal(0, value) for value in self._parameters[node.container.name]]
                return self.holds(syntax.InList(0, node.operand, tuple(values)), item_id, item)
            case syntax.InName():
                value = self._value(node.operand, item_id, item)
                members = self._value(node.container, item_id, item)
                return None if value is None or members is None else value in members
            case syntax.LikePattern():
                value = self._value(node.operand, item_id, item)
                pattern = self._value(node.pattern, item_id, item)
                escape = node.escape and node.escape.value
                return None if value is None or pattern is None else like(value, pattern, escape)
        raise TypeError(node)

    def _compare(self, name: str, left: Any, right: Any, item_id: str, item: Item | None) -> bool | None:
        one, other = self._value(left, item_id, item), self._value(right, item_id, item)
        if one is None or other is None:
            return None
        if isinstance(one, datetime) and isinstance(other, str):
            other = parse_time(other)
        if isinstance(other, datetime) and isinstance(one, str):
            one = parse_time(one)
        return COMPARISONS[name](one, other)

    def _value(self, operand: syntax.Operand, item_id: str, item: Item | None) -> Any:
        match operand:
            case syntax.Literal(value=value):
                return nfc(value)
            case syntax.ParameterName(name=name):
                return nfc(self._parameters[name])
            case syntax.Now(delta=delta):
                return self._now + timedelta(microseconds=delta)
        if operand.name == "item_id":
            return nfc(item_id)
        if item is None:
            return None
        if operand.name in ("title", "categories", "available"):
            return nfc(getattr(item, operand.name))
        return nfc(item.attributes.get(operand.name))


def nfc(value: Any) -> Any:
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    return tuple(map(nfc, value)) if isinstance(value, tuple) else value


def like(text: str, pattern: str, escape: str | None) -> bool:
    """Match recursively, one character of the pattern at a time."""
    if not pattern:
        return not text
    first, rest = pattern[0], pattern[1:]
    if first == escape:
        return text[:1] == rest[:1] and like(text[1:], rest[1:], escape)
    if first == "%":
        return any(like(text[start:], rest, escape) for start in range(len(text) + 1))
    return bool(text) and first in ("_", text[0]) and like(text[1:], rest, escape)
