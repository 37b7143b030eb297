"""Filter of a request."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

Scalar = bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class FilterRequest:
    """Expression, or the name of one, with its parameters.

    A value is a bool, number, string or None, or a list of these. In a query string everything is a string.

    Attributes:
        expression: The expression, if given.
        name: Name of a named filter, if given instead.
        parameters: Values by name.
        key: Identity of the parameters, by type and value.
    """

    expression: str | None = None
    name: str | None = None
    parameters: Mapping[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict, hash=False, compare=False)
    key: Hashable = field(init=False)

    def __post_init__(self) -> None:
        parts = sorted((name, _identity(value)) for name, value in self.parameters.items())
        object.__setattr__(self, "key", tuple(parts))


def _identity(value: Scalar | tuple[Scalar, ...]) -> str:
    return repr(value)  # tells 1 from 1.0, True and "1"
