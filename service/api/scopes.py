"""Scope of each route.

A route declares its scope; the auth middleware looks it up before routing (decision 0019).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from service.api_keys import KeyScope

SCOPE_EXTENSION = "x-scope"  # extension of an operation in the OpenAPI document
_NO_SCOPE = "none"
_GROUP_NAME = re.compile(r"\(\?P<\w+>")
_ONE_SCOPE = {scope: frozenset((scope,)) for scope in KeyScope}
_ANY_SCOPE = frozenset(KeyScope)

OPEN: dict[str, Any] = {SCOPE_EXTENSION: _NO_SCOPE}


def needs(scope: KeyScope) -> dict[str, Any]:
    """Build a route's `openapi_extra` that demands a key with `scope`."""
    return {SCOPE_EXTENSION: scope.value}


def security_requirements(operation: dict[str, Any]) -> list[dict[str, list[str]]]:
    """Build OpenAPI's `security` of an operation.

    The empty requirement means that no key is needed on a server without keys.
    """
    scope = operation[SCOPE_EXTENSION]
    if scope == _NO_SCOPE:
        return []
    with_key = [{"bearer": [scope]}, {"api_key": [scope]}]
    return with_key if scope == KeyScope.ADMIN else [*with_key, {}]


class RouteScopes:
    """Declared scopes by method and path.

    A path under /v1 that no route serves needs a key too, so that nobody can probe without a key which paths exist.
    Under /v1/admin such a path needs the admin scope.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        by_method: dict[str, list[tuple[str, KeyScope | None]]] = {}
        for route in routes:
            if not isinstance(route, APIRoute):
                raise TypeError(f"{route} cannot declare a scope")
            declared = (route.openapi_extra or {}).get(SCOPE_EXTENSION)
            if declared is None:
                raise TypeError(f"the route {route.path} declares no scope")
            scope = None if declared == _NO_SCOPE else KeyScope(declared)
            # The router's own pattern, so that both match alike. A group name may occur only once per pattern.
            pattern = _GROUP_NAME.sub("(?:", route.path_regex.pattern)
            for method in route.methods or ():
                by_method.setdefault(method, []).append((pattern, scope))
        self._patterns = {
            method: re.compile("|".join(f"({pattern})" for pattern, _ in entries))
            for method, entries in by_method.items()
        }
        self._scopes = {method: tuple(scope for _, scope in entries) for method, entries in by_method.items()}

    def accepted(self, method: str, path: str) -> frozenset[KeyScope] | None:
        """Return the scopes that suffice; None if no key is needed."""
        pattern = self._patterns.get(method)
        match = pattern.match(path) if pattern is not None else None
        if match is not None and match.lastindex is not None:
            scope = self._scopes[method][match.lastindex - 1]
            return None if scope is None else _ONE_SCOPE[scope]
        if path.startswith("/v1/admin/"):
            return _ONE_SCOPE[KeyScope.ADMIN]
        return _ANY_SCOPE if path.startswith("/v1/") or path == "/metrics" else None
