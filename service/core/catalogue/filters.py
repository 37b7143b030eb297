"""Filters by text: parsed, checked against the declared attributes, bound to parameters."""

from __future__ import annotations

from collections.abc import Mapping

from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.expression.checker import CheckedFilter, check, suggestion
from service.core.catalogue.expression.predicates import Parameter, ParameterValue, Predicate, bind, convert
from service.core.catalogue.expression.syntax import Condition, ExpressionError
from service.core.catalogue.filter_request import FilterRequest
from service.core.errors import InvalidRequest


def parse_expression(text: str) -> Condition:
    """Parse an expression; raises `InvalidRequest`. Takes a millisecond and more."""
    # sqlglot takes 15 MB and 0.1 s: it is imported with the first filter.
    from service.core.catalogue.expression.parser import parse

    try:
        return parse(text)
    except ExpressionError as error:
        raise refusal(text, error) from None


def check_expression(text: str, tree: Condition, types: Mapping[str, AttributeType]) -> CheckedFilter:
    """Check names and types; raises `InvalidRequest`."""
    try:
        return check(tree, types)
    except ExpressionError as error:
        raise refusal(text, error) from None


def bind_parameters(text: str, checked: CheckedFilter, request: FilterRequest) -> Predicate:
    """Put the request's values into a filter; raises `InvalidRequest`."""
    for name in request.parameters:
        if name not in checked.parameters:
            meant = suggestion(name, checked.parameters)
            problem = f"has no parameter {name[:64]!r}" + (f"; did you mean {meant!r}?" if meant else "")
            raise refusal(text, ExpressionError(problem, 0, meant))
    try:
        return bind(
            checked.predicate,
            {name: convert(parameter, _given(parameter, request)) for name, parameter in checked.parameters.items()},
        )
    except ExpressionError as error:
        raise refusal(text, error) from None


def _given(parameter: Parameter, request: FilterRequest) -> ParameterValue:
    if parameter.name not in request.parameters:
        raise ExpressionError(f"parameter :{parameter.name} has no value", parameter.offset)
    return request.parameters[parameter.name]


def refusal(text: str, error: ExpressionError) -> InvalidRequest:
    """Convert an error of an expression to one for the client, with its place."""
    before = text[: error.offset]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    place = f"line {line}, column {column}" if "\n" in text else f"column {column}"
    details: dict[str, object] = {
        "field": "filter",
        "problem": error.problem,
        "offset": error.offset,
        "line": line,
        "column": column,
    }
    if error.suggestion is not None:
        details["suggestion"] = error.suggestion
    return InvalidRequest(f"filter, {place}: {error.problem}", details=[details])
