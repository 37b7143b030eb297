"""Requests for every operation of the OpenAPI document, and comparable answers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

from tests.end_to_end.service import KEY

_USER, _VISITOR, _EVENT = "<user>", "<visitor>", "<event>"
_AWKWARD = {_USER: "{tag}/../é% +&", _VISITOR: "{tag}/visitor", _EVENT: "{tag}/e +%"}
_WITHOUT_SLASH = {_USER: "{tag}-é% +&", _VISITOR: "{tag}-visitor", _EVENT: "{tag}-e +%"}
# Values by the name of the field. A required field without a value here gets one that fits its type.
_VALUES: dict[str, Any] = {
    "user_id": _USER,
    "from_user_id": _VISITOR,
    "item_id": "1210",
    "event_id": _EVENT,
    "timestamp": 1_700_000_000.0,
    "candidates": ["1210", "260", "unknown/item"],
    "history": ["1", "3114"],
    "k": 3,
    "name": "price",
    "expression": "available",
    "cursor": "~",  # behind every item, so that the page does not depend on what other clients have put
}
_ENTRY = "in-no-model"  # item of the catalogue that is put and deleted
_NOT_CHOSEN = ("version", "before", "exclude_seen", "limit")  # optional; the default is the better example
# Fields that depend on when a snapshot was written, by how many requests, or on what other clients have put.
_CATALOGUE = re.compile(r'"(catalogue_revision|evaluated_at)": ("[^"]*"|[^,}]*), ')
_VOLATILE = re.compile(
    r'"(snapshot|applied|max_relative_error|changed|catalogue_revision|catalogue_age_seconds|total)"'
    r': ("[^"]*"|[^,}]*)'
)


class Request(NamedTuple):
    """One request, ready to be sent.

    Attributes:
        operation: Operation id.
        method: HTTP method.
        path: Path and query, percent-encoded, without a prefix.
        body: JSON, or "" for no body.
    """

    operation: str
    method: str
    path: str
    body: str


class Answer(NamedTuple):
    """Compared part of a response."""

    status: int
    media_type: str
    body: str


def requests_for(document: dict[str, Any], tag: str, decodes_paths: bool) -> list[Request]:
    """Build a request for every operation.

    Events are recorded first, and deletions come last.

    Args:
        document: The OpenAPI document.
        tag: Makes the ids of the users unique.
        decodes_paths: Whether something on the way decodes `%2F` in a path.
    """
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    operations.sort(key=_order)
    names = {placeholder: name.format(tag=tag) for placeholder, name in _AWKWARD.items()}
    in_paths = {placeholder: name.format(tag=tag) for placeholder, name in _WITHOUT_SLASH.items()}
    built = []
    for method, path, operation in operations:
        if not decodes_paths or "{" not in path:
            built.append(_request(document, method, path, operation, names))
        if decodes_paths and ("{" in path or operation["operationId"] == "record_event"):
            built.append(_request(document, method, path, operation, in_paths))
    return built


def _order(operation: tuple[str, str, dict[str, Any]]) -> tuple[bool, bool, bool]:
    method, path, declared = operation
    if method == "DELETE":  # events before their user
        return True, "event" not in path, False
    return False, declared["operationId"] != "record_event", method != "PUT"


def _request(
    document: dict[str, Any], method: str, path: str, operation: dict[str, Any], names: dict[str, str]
) -> Request:
    values = _VALUES if path.endswith("/similar") else {**_VALUES, "item_id": _ENTRY}
    query = [
        f"{name}={quote_plus(str(_named(values[name], names)))}"
        for name in (parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query")
        if name in _VALUES
    ]
    path = re.sub(r"\{(\w+)\}", lambda match: quote(str(_named(values[match[1]], names)), safe=""), path)
    body = ""
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = json.dumps(_named(_example(document, schema), names), ensure_ascii=False)
    return Request(operation["operationId"], method, path + (f"?{'&'.join(query)}" if query else ""), body)


def _example(document: dict[str, Any], schema: dict[str, Any], name: str = "") -> Any:
    if name in _VALUES:
        return _VALUES[name]
    if "$ref" in schema:
        return _example(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if schema.get("type") == "object":
        required = schema.get("required", [])
        return {
            field: _example(document, content, field)
            for field, content in schema.get("properties", {}).items()
            if field in required or (field in _VALUES and field not in _NOT_CHOSEN)
        }
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "array":
        return [_example(document, schema["items"])]
    return 0.5 if schema.get("type") == "number" else 1 if schema.get("type") == "integer" else "no-such"


def _named(value: Any, names: dict[str, str]) -> Any:
    """Replace the placeholders of users in a value."""
    text = json.dumps(value)
    for placeholder, name in names.items():
        text = text.replace(json.dumps(placeholder)[1:-1], json.dumps(name)[1:-1])
    return json.loads(text)


def comparable(answer: Answer, tag: str) -> Answer:
    """Return the answer with neutral names.

    A body that is not JSON is left out.
    """
    if answer.media_type != "application/json":
        return answer._replace(body="")
    body = json.dumps(json.loads(answer.body), ensure_ascii=False)
    for names in (_AWKWARD, _WITHOUT_SLASH):
        for placeholder, name in names.items():
            body = body.replace(name.format(tag=tag), placeholder)
    # Recommendations name the catalogue from its first item on, which the first client puts.
    body = _CATALOGUE.sub("", body)
    return answer._replace(body=_VOLATILE.sub(r'"\1": ...', body))


HEADERS: Sequence[tuple[str, str]] = (("x-api-key", KEY), ("content-type", "application/json"))
