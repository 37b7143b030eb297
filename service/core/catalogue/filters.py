"""Filters by text: parsed, checked against the declared attributes, bound to parameters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from service.core.catalogue.attributes import AttributeType, declared_type
from service.core.catalogue.expression.checker import CheckedFilter, check, suggestion
from service.core.catalogue.expression.parameter_values import ParameterValue, convert
from service.core.catalogue.expression.predicates import Parameter, Predicate, bind
from service.core.catalogue.expression.syntax import Condition, ExpressionError
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue_store import Definitions, ShardPosition
from service.core.errors import InvalidRequest

_MAX_PARSED = 1024

RunInThread = Callable[[Callable[[], Condition]], Awaitable[Condition]]


class FilterTexts:
    """Declared attributes, named filters, and expressions that were parsed before.

    Attributes:
        definitions: Attributes and filters as they are stored.
        types: Types of the declared attributes.
        generation: Changes when a type changes or is removed.
    """

    def __init__(self, in_thread: RunInThread) -> None:
        """Create it without definitions; `in_thread` runs the parser."""
        self._in_thread = in_thread
        self._parsed: OrderedDict[str, Condition] = OrderedDict()
        self.definitions = Definitions(ShardPosition(0, ""), {}, {})
        self.types: Mapping[str, AttributeType] = {}
        self.generation = 0

    def replace(self, definitions: Definitions) -> bool:
        """Replace the definitions; return whether the generation changed."""
        types = {name: declared_type(text) for name, text in definitions.attributes.items()}
        is_other = any(types.get(name) is not kind for name, kind in self.types.items())
        self.types, self.definitions = types, definitions
        self.generation += is_other
        return is_other

    def expression(self, request: FilterRequest | None) -> str:
        """Return the text of a request's filter; raises `InvalidRequest`."""
        if request is None or request.name is None:
            return (request and request.expression) or ""
        if (text := self.definitions.filters.get(request.name)) is not None:
            return text
        meant = suggestion(request.name, self.definitions.filters)
        problem = f"no filter {request.name[:64]!r}" + (f"; did you mean {meant!r}?" if meant else "")
        details: dict[str, object] = {"field": "filter_name", "problem": problem}
        raise InvalidRequest(problem, details=[details if meant is None else {**details, "suggestion": meant}])

    async def check(self, text: str) -> CheckedFilter:
        """Parse and check an expression; raises `InvalidRequest`."""
        tree = self._parsed.get(text)
        if tree is None:
            tree = self._parsed[text] = await self._in_thread(partial(parse_expression, text))
            if len(self._parsed) > _MAX_PARSED:
                self._parsed.popitem(last=False)
        try:
            return check(tree, self.types)
        except ExpressionError as error:
            raise refusal(text, error) from None

    async def predicate(self, text: str, request: FilterRequest) -> Predicate:
        """Return what a request asks for; raises `InvalidRequest`."""
        return bind_parameters(text, await self.check(text), request)


def parse_expression(text: str) -> Condition:
    """Parse an expression; raises `InvalidRequest`. Takes a millisecond and more."""
    # sqlglot takes 15 MB and 0.1 s: it is imported with the first filter.
    from service.core.catalogue.expression.parser import parse

    try:
        return parse(text)
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
    """Convert an error to one for the client, with its position."""
    before = text[: error.offset]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    position = f"line {line}, column {column}" if "\n" in text else f"column {column}"
    details: dict[str, object] = {
        "field": "filter",
        "problem": error.problem,
        "offset": error.offset,
        "line": line,
        "column": column,
    }
    if error.suggestion is not None:
        details["suggestion"] = error.suggestion
    return InvalidRequest(f"filter, {position}: {error.problem}", details=[details])
