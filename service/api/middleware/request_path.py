"""Path of a request, without the prefix and with its ids.

Some proxies decode `%2F` in a path, and clients remove the segments `.` and `..`. So every path with ids has a second
form: `/v1/users/{user_id}/events/{event_id}` is also `/v1/user/event?user_id=…&event_id=…`. Each collection is named
in the singular. The second form is turned into the first before anything else sees it (decision 0096).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes, unquote_plus, unquote_to_bytes

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.error_responses import error_response
from service.core.errors import InvalidRequest
from service.core.printable_text import printable

TAG = "ids in the query"
_ID_PROBLEMS = "recblr.id_problems"
_COLLECTION = re.compile(r"/(\w+)s/\{(\w+)\}")
_NO_ID = "is required in the query, and must not be empty"
_REPEATED = "is given more than once; send it once"


class QueryForm(NamedTuple):
    """Path whose ids come from the query.

    Attributes:
        names: Names of the ids.
        template: Path with the names in braces.
    """

    names: tuple[str, ...]
    template: str

    def fill(self, query_string: bytes) -> tuple[str, bytes, list[dict[str, object]]]:
        """Return the path, the remaining query, and problems of the ids.

        The ids are percent-encoded in the path, as in a request that names them there.
        """
        ids: dict[str, str] = {}
        rest, repeated = [], []
        for part in query_string.split(b"&"):
            raw_name, _, value = part.partition(b"=")
            name = unquote_plus(raw_name.decode("latin-1"))
            if name not in self.names:
                rest.append(part)
            elif name in ids:
                repeated.append(name)
            else:
                ids[name] = quote_from_bytes(unquote_to_bytes(value.replace(b"+", b" ")), safe="")
        problems: list[dict[str, object]] = [
            {"field": printable(name), "problem": _REPEATED if name in repeated else _NO_ID}
            for name in self.names
            if name in repeated or not ids.get(name)
        ]
        return "" if problems else self.template.format_map(ids), b"&".join(rest), problems


def query_path(path: str) -> str:
    """Return the second form of `path`, without the query."""
    return _COLLECTION.sub(r"/\1", path)


def query_forms(paths: Iterable[str]) -> dict[str, QueryForm]:
    """Return the second forms of those paths that have ids."""
    return {
        query_path(path): QueryForm(tuple(name for _, name in _COLLECTION.findall(path)), path)
        for path in paths
        if "{" in path
    }


class RequestPath:
    """Rewrites the paths of requests.

    Args:
        root_path: Prefix of all paths, which a proxy may have left; "" for none.
        paths: Declared paths, with the names of ids in braces.
    """

    def __init__(self, root_path: str, paths: Iterable[str]) -> None:
        self.root_path = root_path
        self.forms: Mapping[str, QueryForm] = query_forms(paths)

    def rewrite(self, scope: Scope) -> None:
        """Remove the prefix, and move ids from the query into the path."""
        path: str = scope["path"]
        rest = path.removeprefix(self.root_path)
        if rest[:1] in ("/", ""):
            path = rest
        form = self.forms.get(path)
        if form is not None:
            filled, query_string, problems = form.fill(scope["query_string"])
            if problems:
                scope[_ID_PROBLEMS] = problems
            else:
                path, scope["query_string"] = filled, query_string
        scope["path"] = path


class PathProblems:
    """Middleware that answers paths that `RequestPath` could not complete.

    It runs behind the check of keys. `/prefix` is redirected to `/prefix/`, the console, whose links are relative.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass the request on, or answer it."""
        if scope["type"] == "http":
            if _ID_PROBLEMS in scope:
                error = InvalidRequest("the request does not follow the contract", details=scope[_ID_PROBLEMS])
                return error_response(error)(scope, receive, send)
            if not scope["path"]:
                return RedirectResponse(f"{self._root_path}/", 308)(scope, receive, send)
        return self._app(scope, receive, send)


def add_query_forms(paths: dict[str, Any]) -> None:
    """Add the second forms to an OpenAPI document's paths."""
    for path, operations in [each for each in paths.items() if "{" in each[0]]:
        paths[query_path(path)] = {
            method: {
                **operation,
                "tags": [TAG],
                "operationId": f"{operation['operationId']}_by_query",
                "description": f"Same as `{method.upper()} {path}`, with the ids in the query. Clients and proxies "
                "change some ids in a path, such as `.` and `..`, or those with a slash.",
                "parameters": [_in_query(parameter) for parameter in operation["parameters"]],
            }
            for method, operation in operations.items()
        }


def _in_query(parameter: dict[str, Any]) -> dict[str, Any]:
    if parameter["in"] != "path":
        return parameter
    schema = {"minLength": 1, **parameter["schema"]}  # a path cannot name an empty id, a query could
    return {**parameter, "in": "query", "description": "Id.", "schema": schema}
