"""Scopes that each route needs.

A route declares the scopes that it needs; the auth middleware looks them up before routing (decision 0019).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from service.api_keys import KeyScope

SCOPE_EXTENSION = "x-scope"  # extension of an operation in the OpenAPI document: "none", or scopes joined by +
QUERY_SCOPES_EXTENSION = "x-scope-with-query"  # scope that a query parameter needs in addition, by parameter
USER_TOKEN_EXTENSION = "x-user-token"  # noqa: S105 - where a route names the user: "path" or "body"
_NO_SCOPE = "none"
_GROUP_NAME = re.compile(r"\(\?P<\w+>")

OPEN: dict[str, Any] = {SCOPE_EXTENSION: _NO_SCOPE}


def needs(
    *scopes: KeyScope,
    with_query: Mapping[str, KeyScope] | None = None,
    bound_user: Literal["path", "body"] | None = None,
) -> dict[str, Any]:
    """Build a route's `openapi_extra` that demands a key with all of `scopes`.

    Args:
        scopes: Scopes that every request needs.
        with_query: Further scopes of requests with a query parameter, by the parameter's name.
        bound_user: Where the request names its user, if a user token suffices: in the path, or in the body, which
            the route then checks with `Caller.check_user`.
    """
    extra: dict[str, Any] = {SCOPE_EXTENSION: "+".join(scopes)}
    if with_query:
        extra[QUERY_SCOPES_EXTENSION] = {name: scope.value for name, scope in with_query.items()}
    if bound_user:
        extra[USER_TOKEN_EXTENSION] = bound_user
    return extra


def security_requirements(operation: dict[str, Any]) -> list[dict[str, list[str]]]:
    """Build OpenAPI's `security` of an operation.

    The empty requirement means that no key is needed on a server without keys.
    """
    declared = operation[SCOPE_EXTENSION]
    if declared == _NO_SCOPE:
        return []
    scopes = declared.split("+")
    with_key = [{"bearer": scopes}, {"api_key": scopes}]
    if USER_TOKEN_EXTENSION in operation:
        with_key.append({"user_token": []})
    return with_key if KeyScope.ADMIN in scopes else [*with_key, {}]


class Needed(NamedTuple):
    """Requirements of one request.

    Attributes:
        scopes: All of these scopes; an empty set means that a key of any scope suffices.
        user_token: Where the request names its user, if a user token suffices.
    """

    scopes: frozenset[KeyScope]
    user_token: str | None = None


class _Declared:
    """Declared scopes of one route; None if it needs no key."""

    def __init__(self, path: str, extra: Mapping[str, Any]) -> None:
        if SCOPE_EXTENSION not in extra:
            raise TypeError(f"the route {path} declares no scope")
        text = extra[SCOPE_EXTENSION]
        scopes = frozenset(KeyScope(name) for name in text.split("+")) if text != _NO_SCOPE else frozenset()
        self.needed = None if text == _NO_SCOPE else Needed(scopes, extra.get(USER_TOKEN_EXTENSION))
        if extra.get(USER_TOKEN_EXTENSION) == "path" and not path.startswith("/v1/users/{user_id}"):
            raise TypeError(f"the route {path} has no user where user tokens look for it")
        self.by_query = {
            name: frozenset((KeyScope(scope),)) for name, scope in extra.get(QUERY_SCOPES_EXTENSION, {}).items()
        }
        self.with_short_query = lru_cache(maxsize=256)(self.with_query)  # clients repeat a few query strings

    def with_query(self, query_string: bytes) -> Needed | None:
        """Return the requirements of a request with this query string.

        It is parsed as the framework and the fast path parse it, so that no spelling of a parameter escapes its
        scope.
        """
        if self.needed is None:
            return None
        names = {name for name, _ in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)}
        further = [scope for name, scope in self.by_query.items() if name in names]
        return self.needed._replace(scopes=self.needed.scopes.union(*further))


_ADMIN = Needed(frozenset((KeyScope.ADMIN,)))
_ANY_SCOPE = Needed(frozenset())


class RouteScopes:
    """Declared scopes by method and path.

    A path under /v1 that no route serves needs a key too, so that nobody can probe without a key which paths exist.
    Under /v1/admin such a path needs the admin scope.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        by_method: dict[str, list[tuple[str, _Declared]]] = {}
        for route in routes:
            if not isinstance(route, APIRoute):
                raise TypeError(f"{route} cannot declare a scope")
            declared = _Declared(route.path, route.openapi_extra or {})
            # The router's own pattern, so that both match alike. A group name may occur only once per pattern.
            pattern = _GROUP_NAME.sub("(?:", route.path_regex.pattern)
            for method in route.methods or ():
                by_method.setdefault(method, []).append((pattern, declared))
        self._patterns = {
            method: re.compile("|".join(f"({pattern})" for pattern, _ in entries))
            for method, entries in by_method.items()
        }
        self._declared = {method: tuple(each for _, each in entries) for method, entries in by_method.items()}

    @property
    def all_methods(self) -> list[str]:
        """Methods of all routes."""
        return sorted({*self._patterns, "HEAD"})

    def methods(self, path: str) -> list[str]:
        """Return the methods that `path` supports."""
        found = {method for method, pattern in self._patterns.items() if pattern.match(path)}
        return sorted(found | {"HEAD"} if "GET" in found else found)

    def needed(self, method: str, path: str, query_string: bytes) -> Needed | None:
        """Return the requirements of a request; None if it needs no key."""
        if method == "HEAD":
            method = "GET"  # the same answer without its body
        pattern = self._patterns.get(method)
        match = pattern.match(path) if pattern is not None else None
        if match is not None and match.lastindex is not None:
            declared = self._declared[method][match.lastindex - 1]
            if not declared.by_query or not query_string:
                return declared.needed
            return (declared.with_short_query if len(query_string) <= 256 else declared.with_query)(query_string)
        if path.startswith("/v1/admin/"):
            return _ADMIN
        return _ANY_SCOPE if path.startswith("/v1/") or path == "/metrics" else None
