"""Filters, exclusions and item fields of a question."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import (
    BaseModel,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    model_validator,
)
from pydantic.config import JsonDict

from service.api.schemas.field_types import EXCLUDED_EVENTS, FILTER_NAME, ExcludedEvents, Identifier
from service.core.catalogue.filter_request import FilterRequest, Scalar
from service.core.engine_requests import EventExclusion
from service.core.errors import InvalidRequest
from service.core.event_fields import DEFAULT_TYPE

MAX_EXPRESSION, MAX_EXCLUDED, MAX_EXCLUDED_EVENTS, MAX_PARAMETERS, MAX_FIELDS = 4096, 1000, 32, 64, 64
PARAMETER = "param."  # before the name of a filter's parameter, in a query string
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MAX_VALUE_CHARACTERS, _MAX_VALUES = 1024, 64

_FILTER = "Only items for which this condition is true, such as `price < 50 AND 'shoes' IN categories`."
_FILTER_NAME = "Name of a filter that PUT /v1/filters/{name} has stored, instead of `filter`."
_UNIT_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_EXCLUDE_EVENTS = (
    "Leave out items of which the user's kept events have one of this type, such as `purchase`, or one no older than "
    "an age in minutes, hours, days or weeks, such as `purchase:30d`. At most 32."
)
_EXCLUDE = "Leave out these items. At most 1,000."
_FIELDS = "Attributes of the catalogue that each item carries under `attributes`"

_Expression = Annotated[str, StringConstraints(min_length=1, max_length=MAX_EXPRESSION)]
_FilterName = Annotated[str, StringConstraints(pattern=FILTER_NAME)]
_Value = Annotated[str, StringConstraints(max_length=_MAX_VALUE_CHARACTERS)] | bool | float | None
# Defaults come from factories: pydantic copies a default list deeply at each request, which takes 2 us.
_EMPTY_LIST: JsonDict = {"default": []}
_EMPTY_OBJECT: JsonDict = {"default": {}}
_Values = _Value | Annotated[list[_Value], Field(max_length=_MAX_VALUES)]


class Restrictions(NamedTuple):
    """Filter and exclusions of a question, and fields of its items.

    Attributes:
        request: The filter; None for availability only.
        exclude: Items that are left out.
        fields: Attributes of each item; empty for none.
        exclude_events: Types of events of the user whose items are left out.
    """

    request: FilterRequest | None = None
    exclude: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    exclude_events: tuple[EventExclusion, ...] = ()

    def joined(self, other: Restrictions) -> Restrictions:
        """Return those of a request's query string and body together.

        Raises `InvalidRequest` if both name a filter.
        """
        if other is UNRESTRICTED:
            return self
        if self.request and other.request:
            raise _refused("filter", "is in the query string and in the body; send one")
        if len(self.exclude) + len(other.exclude) > MAX_EXCLUDED:
            raise _refused("exclude", f"must have at most {MAX_EXCLUDED} entries in query string and body together")
        events = self.exclude_events + other.exclude_events
        if len(events) > MAX_EXCLUDED_EVENTS:
            problem = f"must have at most {MAX_EXCLUDED_EVENTS} entries in query string and body together"
            raise _refused("exclude_events", problem)
        request, exclude = self.request or other.request, self.exclude + other.exclude
        return Restrictions(request, exclude, self.fields + other.fields, events)


UNRESTRICTED = Restrictions()


class _Restricting(BaseModel):
    """Question with a filter."""

    filter: _Expression | None = Field(default=None, description=_FILTER)
    filter_name: _FilterName | None = Field(default=None, description=_FILTER_NAME)
    exclude: list[Identifier] = Field(
        default_factory=list, max_length=MAX_EXCLUDED, description=_EXCLUDE, json_schema_extra=_EMPTY_LIST
    )
    # No field: what the fields below say together, set after their validation. Most questions have none.
    restrictions: ClassVar[Restrictions] = UNRESTRICTED

    def _excluded_events(self) -> tuple[EventExclusion, ...]:
        return ()

    def _restrict(self, parameters: Mapping[str, Scalar | Sequence[Scalar]], fields: Sequence[str]) -> None:
        """Set the restrictions; raises `ValueError`."""
        if self.filter is not None and self.filter_name is not None:
            raise ValueError("send either filter or filter_name")
        request = None
        if self.filter is not None or self.filter_name is not None:
            frozen = {
                name: value if value is None or isinstance(value, bool | int | float | str) else tuple(value)
                for name, value in parameters.items()
            }
            request = FilterRequest(self.filter, self.filter_name, frozen)
        elif parameters:
            raise ValueError("parameters need a filter or filter_name that uses them")
        if len(parameters) > MAX_PARAMETERS:
            raise ValueError(f"at most {MAX_PARAMETERS} parameters are allowed")
        if len(fields) > MAX_FIELDS:
            raise ValueError(f"at most {MAX_FIELDS} fields are allowed")
        for name in (*parameters, *fields):
            if not _NAME.fullmatch(name):
                raise ValueError("a parameter or field is a letter or _, then at most 63 letters, digits and _")
        restrictions = Restrictions(request, tuple(self.exclude), tuple(fields), self._excluded_events())
        object.__setattr__(self, "restrictions", restrictions)  # frozen


class RestrictingQuery(_Restricting):
    """Query parameters of a question: filter, `param.NAME`, exclude, fields."""

    fields: str = Field(default="", max_length=4096, description=f"{_FIELDS}, separated by commas.")

    @model_validator(mode="wrap")
    @classmethod
    def _with_parameters(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401
        """Take the filter's parameters out of the query string."""
        parameters = {name: value for name, value in values.items() if name.startswith(PARAMETER)}
        if parameters:
            values = {name: value for name, value in values.items() if name not in parameters}
        found = handler(values)
        if parameters or found.model_fields_set & RESTRICTING_FIELDS:
            for value in parameters.values():
                if any(len(each) > _MAX_VALUE_CHARACTERS for each in ([value] if isinstance(value, str) else value)):
                    raise ValueError(f"a parameter has at most {_MAX_VALUE_CHARACTERS} characters")
            names = {name.removeprefix(PARAMETER): value for name, value in parameters.items()}
            found._restrict(names, [name for name in found.fields.split(",") if name] if found.fields else [])
        return found


class RestrictingBody(_Restricting):
    """Body of a question: filter, params, exclude, fields."""

    params: dict[str, _Values] = Field(
        default_factory=dict,
        description="Values of the filter's parameters, by name.",
        json_schema_extra=_EMPTY_OBJECT,
    )
    fields: list[str] = Field(default_factory=list, description=f"{_FIELDS}.", json_schema_extra=_EMPTY_LIST)

    def question(self) -> Restrictions:
        """Return the restrictions; raises `InvalidRequest` if they contradict."""
        if self.model_fields_set & RESTRICTING_FIELDS:
            try:
                self._restrict(self.params, self.fields)
            except ValueError as error:
                raise _refused("body", str(error)) from None
        return self.restrictions


class _OfUser(_Restricting):
    """Question about a user of the event log."""

    exclude_events: list[ExcludedEvents] = Field(
        default_factory=list,
        max_length=MAX_EXCLUDED_EVENTS,
        description=_EXCLUDE_EVENTS,
        json_schema_extra=_EMPTY_LIST,
    )

    def _excluded_events(self) -> tuple[EventExclusion, ...]:
        return tuple(map(_parse_exclusion, self.exclude_events))


class UserRestrictingQuery(RestrictingQuery, _OfUser):
    """Query parameters of a question about a user."""


class UserRestrictingBody(RestrictingBody, _OfUser):
    """Body of a question about a user."""


RESTRICTING_FIELDS = {"filter", "filter_name", "exclude", "exclude_events", "fields", "params"}
LIST_PARAMETERS = {"exclude", "exclude_events"}  # may be repeated in a query string


def _parse_exclusion(text: str) -> EventExclusion:
    match = re.fullmatch(EXCLUDED_EVENTS, text)
    assert match is not None  # noqa: S101 - validated before
    name, number, unit = match.groups()
    age = None if number is None else int(number) * _UNIT_SECONDS[unit]
    return EventExclusion("" if name == DEFAULT_TYPE else name, age)


def _refused(field: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{field} {problem}", details=[{"field": field, "problem": problem}])
