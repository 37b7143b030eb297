"""Largest requests of every route, accepted or refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from loadtests.generator.http_client import SERIAL, Request, make_request

MAX_ITEMS = 1000
MAX_K = 10_000
LONG_ID = "\U0001f3ac" * 244  # with a serial number, the longest id in UTF-8
_USER, _OTHER = f"user-{SERIAL.decode()}", f"other-{SERIAL.decode()}"
_MAX_BODY_BYTES = 4 * 1024 * 1024
_JSON = {"content-type": "application/json"}
# Routes that get bodies which are refused; the last one is about one item, which is called batch.
_TARGETS = (
    ("POST", "/v1/events"),
    ("POST", "{path}/rank"),
    ("POST", "/v1/events/batch"),
    ("PUT", "/v1/filters/long"),
    ("PUT", "/v1/items/batch"),
)


class LargestRequest(NamedTuple):
    """A request, and those that must precede it.

    Attributes:
        name: What is large.
        request: The request.
        before: Requests that make its user; all have the same serial number.
    """

    name: str
    request: Request
    before: tuple[Request, ...] = ()


def largest_requests(item_ids: Sequence[str]) -> list[LargestRequest]:
    """Return the requests for a model with these items."""
    items = (list(item_ids) * MAX_ITEMS)[:MAX_ITEMS]
    user, both = (_log_of(_USER, items),), (_log_of(_USER, items), _log_of(_OTHER, items))
    top = f"k={MAX_K}&exclude_seen=false"
    path = f"/v1/users/{_USER}"
    ids = [f"{LONG_ID}{number:012}" for number in range(MAX_ITEMS)]
    history = {"history": items, "k": MAX_K, "exclude_seen": False}
    shown = [{"item_id": item_id, "score": 0.0} for item_id in items[:250]]
    answer = {"model_version": "v", "sequence": MAX_ITEMS, "items": shown}
    make = _maker()
    return [
        make("event, largest k", "POST", f"/v1/events?{top}", {"user_id": _USER, "item_id": items[0]}, user),
        make("batch of 1,000 users", "POST", "/v1/events/batch", _batch(MAX_ITEMS, items)),
        make("batch of 1,000 users with long ids", "POST", "/v1/events/batch", _batch(MAX_ITEMS, ids, "a" * 230)),
        make("batch of 1,000 events of one user", "POST", "/v1/events/batch", _batch(1, items)),
        make("batch of 1,000 invalid events", "POST", "/v1/events/batch", {"events": [{"a": 1, "b": 2}] * MAX_ITEMS}),
        make("recommendations of a new log of 1,000", "GET", f"{path}/recommendations?{top}", None, user),
        make("1,000 exclusions", "POST", f"{path}/recommendations", {"k": MAX_K, "exclude": ids}, user),
        make("1,000 invalid exclusions", "POST", f"{path}/recommendations", {"exclude": [0] * MAX_ITEMS}),
        make("rank of 1,000 candidates", "POST", f"{path}/rank", {"candidates": items}, user),
        make("rank of 1,000 unknown candidates", "POST", f"{path}/rank", {"candidates": ids}),
        make("rank of 1,000 invalid candidates", "POST", f"{path}/rank", {"candidates": [0] * MAX_ITEMS}),
        make("history of 1,000", "POST", "/v1/recommendations", history),
        make("history of 1,000 unknown items", "POST", "/v1/recommendations", {"history": ids, "k": MAX_K}),
        make("history of 1,000 invalid items", "POST", "/v1/recommendations", {"history": [0] * MAX_ITEMS}),
        make("similar items", "GET", f"/v1/items/{items[0]}/similar?k={MAX_K}"),
        make("summary of a user", "GET", path, None, user),
        make("page of 1,000 events", "GET", f"{path}/events?limit=1000", None, user),
        make("audit of 1,000 events", "GET", f"{path}/audit", None, user),
        make("audit of an answer of 250 items", "POST", f"{path}/audit", {"answer": answer}, user),
        make("merge of 1,000 events into 1,000", "POST", f"{path}/merge", {"from_user_id": _OTHER}, both),
        make("deletion of an event", "DELETE", f"{path}/events/e0", None, user),
        make("deletion of a user", "DELETE", path, None, user),
        make("model", "GET", "/v1/model"),
        make("metrics", "GET", "/metrics"),
        make("readiness", "GET", "/readyz"),
        make("liveness", "GET", "/healthz"),
        make("console", "GET", "/"),
        make("documentation", "GET", "/docs"),
        make("OpenAPI document", "GET", "/openapi.json"),
        make("unknown path of 60 KB", "GET", "/" + "a/" * 30_000),
        make("30,000 query parameters", "GET", f"{path}/recommendations?" + "a&" * 30_000),
        make("30,000 query parameters of a body", "POST", "/v1/events?" + "a&" * 30_000, {"user_id": _USER}),
        make("a path of 60 KB of escapes", "GET", "/v1/users/" + "%41" * 20_000 + "/recommendations"),
        make("256 headers", "GET", f"{path}/recommendations", None, (), {f"x-{n}": "a" * 200 for n in range(250)}),
        *_bodies(path),
        *_catalogue(make),
    ]


def _catalogue(make: Callable[..., LargestRequest]) -> list[LargestRequest]:
    """Return the largest requests about items, attributes and filters."""
    serial = SERIAL.decode()
    item = {
        "title": "t" * 200,
        "categories": [f"category {number}" for number in range(30)],
        "attributes": {f"a{number}": "b" * 40 for number in range(40)},
    }
    small = {"title": "t", "attributes": {"price": 1.0, "brand": "b"}}
    batch = [{"item_id": f"new-{number}-{serial}", **small} for number in range(MAX_ITEMS)]
    put = make("items", "POST", "/v1/items/batch", {"items": batch, "mode": "put"}).request
    condition = " OR ".join(f"title = '{number}'" for number in range(60))
    one = f"/v1/items/new-0-{serial}"
    return [
        make("item with many attributes", "PUT", one, item),
        make("patch of an item with many attributes", "PATCH", one, item, (put,)),
        make("item", "GET", one, None, (put,)),
        make("deletion of an item", "DELETE", one, None, (put,)),
        make("batch of 1,000 items", "POST", "/v1/items/batch", {"items": batch, "mode": "put"}),
        make("page of 1,000 items", "GET", "/v1/items?limit=1000", None, (put,)),
        make("attributes", "GET", "/v1/attributes", None, (put,)),
        make("attribute", "GET", "/v1/attributes/price", None, (put,)),
        make("declaration of an attribute", "PUT", f"/v1/attributes/b{serial}", {"type": "time"}),
        make("deletion of an attribute", "DELETE", f"/v1/attributes/c{serial}"),
        make("long filter", "PUT", "/v1/filters/long", {"expression": condition}),
        make("filters", "GET", "/v1/filters"),
        make("filter", "GET", "/v1/filters/long"),
        make("deletion of a filter", "DELETE", "/v1/filters/long"),
    ]


def _maker() -> Callable[..., LargestRequest]:
    def make(
        name: str,
        method: str,
        path: str,
        body: object = None,
        before: tuple[Request, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> LargestRequest:
        return LargestRequest(name, make_request(name, method, path, body, headers), before)

    return make


def _bodies(path: str) -> list[LargestRequest]:
    """Return the largest bodies that are refused only after they were read."""
    event = {"user_id": _USER, "item_id": "1"}
    padded = json.dumps(event).encode().ljust(_MAX_BODY_BYTES)
    strings = json.dumps({"candidates": ["a" * 60_000] * 60}).encode()
    escapes = ('{"candidates": ["' + '", "'.join(["\\u0041" * 10_000] * 60) + '"]}').encode()
    fields = ("{" + ",".join(f'"f{number}":1' for number in range(2_000)) + "}").encode()
    many_fields = ("{" + ",".join(f'"f{number}":1' for number in range(420_000)) + "}").encode()[:_MAX_BODY_BYTES]
    nested = b"[" * 2_000 + b"]" * 2_000
    bodies = {
        "4 MiB of spaces": padded,
        "4 MiB of strings": strings,
        "4 MiB of escapes": escapes,
        "2,000 unknown fields": fields,
        "420,000 unknown fields": many_fields,
        "2,000 nested lists": nested,
        "a number of 60 KB": b'{"user_id": ' + b"1" * 60_000 + b"}",
        "4 MiB that is not JSON": b"x" * _MAX_BODY_BYTES,
        "4 MiB of quotes": b'"' * _MAX_BODY_BYTES,
        "4 MiB of backslashes": b"\\" * _MAX_BODY_BYTES,
    }
    made = []
    for name, body in bodies.items():
        for method, target in _TARGETS:
            request = with_body(target.format(path=path), body, method)
            made.append(LargestRequest(f"{name} to {method} {target}", request))
    squeezed = gzip.compress(padded)
    bomb = gzip.compress(bytes(1000 * _MAX_BODY_BYTES // 1000))
    for name, body in {"gzip of 4 MiB": squeezed, "gzip bomb": bomb}.items():
        made.append(LargestRequest(name, with_body("/v1/events", body, **{"content-encoding": "gzip"})))
    return made


def with_body(path: str, body: bytes, method: str = "POST", **headers: str) -> Request:
    """Prepare a request with these bytes as its JSON body."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (_JSON | headers).items()]
    raw = "\r\n".join([*lines, "", ""]).encode() + body
    return Request(path, raw, SERIAL in raw)


def _batch(users: int, items: Sequence[str], prefix: str = "user-") -> dict[str, object]:
    serial = SERIAL.decode()
    return {
        "events": [
            {
                "user_id": f"{prefix}{number % users:x}-{serial}"[-256:] if users > 1 else _USER,
                "item_id": item,
                "timestamp": 1e9 + number,
                "event_id": f"{prefix}{number:x}{serial}"[-256:],
            }
            for number, item in enumerate(items)
        ]
    }


def _log_of(user: str, items: Sequence[str]) -> Request:
    """Return the request that gives a user 1,000 events."""
    events = [
        {"user_id": user, "item_id": item, "timestamp": 1e9 + number, "event_id": f"{user[:1]}{number}"}
        for number, item in enumerate(items)
    ]
    return make_request("log", "POST", "/v1/events/batch", {"events": events})
