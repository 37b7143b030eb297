"""Which scope each route needs: declared at the route, and held in a table that is asked before it runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from service.api_keys import KeyScope

DECLARED = "x-scope"  # as it stands in the OpenAPI document
_OPEN = "none"
_GROUP_NAME = re.compile(r"\(\?P<\w+>")

OPEN: dict[str, Any] = {DECLARED: _OPEN}


def needs(scope: KeyScope) -> dict[str, Any]:
    """What a route declares as its `openapi_extra`: it is for keys with `scope` alone."""
    return {DECLARED: scope.value}


def security_of(operation: dict[str, Any]) -> list[dict[str, list[str]]]:
    """How OpenAPI says what an operation declares; the empty choice: a server without keys asks for none."""
    scope = operation[DECLARED]
    if scope == _OPEN:
        return []
    needed = [{"bearer": [scope]}, {"api_key": [scope]}]
    return needed if scope == KeyScope.ADMIN else [*needed, {}]


class RouteScopes:
    """The declared scopes, by method and path.

    A path that no route serves needs a key all the same where it lies under /v1, so that strangers cannot try out
    which paths there are; under /v1/admin it needs the admin scope.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        by_method: dict[str, list[tuple[str, KeyScope | None]]] = {}
        for route in routes:
            if not isinstance(route, APIRoute):
                raise TypeError(f"{route} cannot declare a scope")
            declared = (route.openapi_extra or {}).get(DECLARED)
            if declared is None:
                raise TypeError(f"the route {route.path} declares no scope")
            scope = None if declared == _OPEN else KeyScope(declared)
            # As the router will match it, less the names, which may come once in a pattern alone.
            pattern = _GROUP_NAME.sub("(?:", route.path_regex.pattern)
            for method in route.methods or ():
                by_method.setdefault(method, []).append((pattern, scope))
        self._patterns = {
            method: re.compile("|".join(f"({pattern})" for pattern, _ in entries))
            for method, entries in by_method.items()
        }
        self._scopes = {method: tuple(scope for _, scope in entries) for method, entries in by_method.items()}

    def allowing(self, method: str, path: str) -> frozenset[KeyScope] | None:
        """The scopes of which a key needs one; None where no key is asked for."""
        pattern = self._patterns.get(method)
        found = pattern.match(path) if pattern is not None else None
        if found is not None and found.lastindex is not None:
            scope = self._scopes[method][found.lastindex - 1]
            return None if scope is None else _ONE[scope]
        if path.startswith("/v1/admin/"):
            return _ONE[KeyScope.ADMIN]
        return _ANY if path.startswith("/v1/") or path == "/metrics" else None


_ONE = {scope: frozenset((scope,)) for scope in KeyScope}
_ANY = frozenset(KeyScope)
