"""Values of parameters, converted to the type that the expression needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite

from service.core.catalogue.attributes import AttributeType, normalize, parse_time, to_microseconds
from service.core.catalogue.expression.predicates import Constant, Parameter
from service.core.catalogue.expression.syntax import ExpressionError

MAX_LIST = 1000
MAX_CHARACTERS = 1024  # of a parameter

# What a client may pass for a parameter; in a query string everything is a string.
ParameterValue = bool | int | float | str | None | Sequence["bool | int | float | str | None"]
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NEEDED = {
    AttributeType.BOOL: "true or false",
    AttributeType.NUMBER: "a number",
    AttributeType.STRING: "a string",
    AttributeType.TIME: "a time like 2026-12-24T18:00:00Z, with an offset or Z",
}


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
    if isinstance(given, str) and len(given) > MAX_CHARACTERS:
        raise _refused(parameter, f"at most {MAX_CHARACTERS} characters")
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
