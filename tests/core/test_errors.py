"""The error tree and its drawing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from service.api.error_responses import STATUS
from service.core import errors
from service.core.errors import ServiceError

SERVICE = Path(errors.__file__).parents[1]
_LINE = re.compile(r"^ {4}[ |`-]*(\w+)(?: +(\d{3}) +(\w+)| {2,}|$)", re.MULTILINE)


def subclasses(cls: type[ServiceError]) -> Iterator[type[ServiceError]]:
    """Every class of the tree, the root first."""
    yield cls
    for below in cls.__subclasses__():
        yield from subclasses(below)


def drawing() -> dict[str, tuple[str, str]]:
    """Status and code of each class name in the drawing of core/errors.py."""
    assert errors.__doc__ is not None
    return {name: (status, code) for name, status, code in _LINE.findall(errors.__doc__)}


def test_drawing_states_the_status_and_code_of_every_service_error() -> None:
    in_drawing = {name: (int(status), code) for name, (status, code) in drawing().items() if status}
    assert in_drawing == {cls.__name__: (STATUS[cls], cls.code) for cls in subclasses(ServiceError)}


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in subclasses(ServiceError)]
    assert len(codes) == len(set(codes))


def test_every_service_error_is_defined_in_the_one_module() -> None:
    assert {cls.__module__ for cls in subclasses(ServiceError)} == {errors.__name__}


def test_every_exception_of_the_service_is_in_the_drawing() -> None:
    defined = {
        node.name
        for path in SERVICE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith(("Error", "Exception", "NotFound")) for base in node.bases)
    }
    assert defined <= set(drawing())
    assert len(defined) > len(list(subclasses(ServiceError)))  # those that no client receives are found, too


def test_exceptions_that_no_client_receives_end_in_error() -> None:
    names = [name for name, (status, _) in drawing().items() if not status]
    assert [name for name in names if not name.endswith("Error") and name != "Exception"] == []
