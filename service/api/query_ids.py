"""Form of a path with its ids in the query.

Some proxies decode `%2F` in a path, and clients remove the segments `.` and `..`. So every path with ids has a second
form: `/v1/users/{user_id}/events/{event_id}` is also `/v1/user/event?user_id=…&event_id=…`. Each collection is named
in the singular.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes, unquote_plus, unquote_to_bytes

from service.api.schemas.validation_messages import printable

TAG = "ids in the query"
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
        """Return the path, the rest of the query, and what is wrong with the ids.

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
    """Return the form of `path` with its ids in the query, without the query."""
    return _COLLECTION.sub(r"/\1", path)


def query_forms(paths: Iterable[str]) -> dict[str, QueryForm]:
    """Return the second forms of those paths that have ids."""
    return {
        query_path(path): QueryForm(tuple(name for _, name in _COLLECTION.findall(path)), path)
        for path in paths
        if "{" in path
    }


def add_query_forms(paths: dict[str, Any]) -> None:
    """Add the second forms to the paths of an OpenAPI document."""
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
    return {**parameter, "in": "query", "description": "Id."} if parameter["in"] == "path" else parameter
