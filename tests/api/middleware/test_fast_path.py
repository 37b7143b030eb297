"""The fast path gives the same responses as the declared routes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from service.api.caller import ANONYMOUS_CALLER, CALLER
from service.api.connection.transport import EXTENSIONS, MAX_WHOLE_BYTES, WHOLE_RESPONSE
from service.api.exception_handlers import ErrorHandlers
from service.api.middleware import fast_path
from service.api.middleware.fast_path import FastPath
from tests.api.app_harness import AppHarness
from tests.api.schemas.test_requests import BAD_BODIES, BAD_EVENTS
from tests.core.memory_store import MemoryStore

JSON = {"content-type": "application/json"}
PARTS = ["http.response.start", "http.response.body"]  # messages of ASGI
GOOD = {"user_id": "ü/x", "item_id": "10"}
ORDINARY: list[dict[str, Any]] = [
    GOOD,
    {**GOOD, "event_id": "e"},
    {**GOOD, "event_id": "e"},
    {**GOOD, "item_id": "11", "event_id": "e"},
    {**GOOD, "item_id": "nobody's", "timestamp": 12.5},
    {**GOOD, "event_id": None, "timestamp": "2001-01-01T02:00:00+02:00"},
    {**GOOD, "user_id": "日本" * 128, "timestamp": 0.1 + 0.2, "event_id": "t"},
]
QUERIES = ["", "?k=3", "?k=3&exclude_seen=false", "?exclude_seen=0&k=007", "?k=2%30"]
ODD_QUERIES = ["?k=0", "?k=", "?k=x", "?limit=3", "?k=10001", "?exclude_seen=maybe", "?k=1;k=2", "?k=1.0", "?k=3&k=4"]
PATHS = ["ann", "%C3%BC%2Fx", "a%20b", "", "a/b", "%FF", "%00", "x" * 257, "%E6%97%A5" * 256, "recommendations"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AppHarness, AppHarness]]:
    """Applications with and without the fast path, on separate event logs."""
    folder = tmp_path_factory.mktemp("logs")
    harnesses = [AppHarness(folder, store=MemoryStore(), fast_path=enabled).start() for enabled in (True, False)]
    yield harnesses[0], harnesses[1]
    for harness in harnesses:
        harness.close()


def both(pair: tuple[AppHarness, AppHarness], method: str, path: str, **arguments: Any) -> httpx.Response:
    fast, plain = (harness.call(method, path, **arguments) for harness in pair)
    assert (fast.status_code, fast.content) == (plain.status_code, plain.content)
    own = {"x-request-id"}
    assert {n: v for n, v in fast.headers.items() if n not in own} == {
        n: v for n, v in plain.headers.items() if n not in own
    }
    return fast


@pytest.mark.parametrize("query", QUERIES)
def test_ordinary_requests_get_same_response(pair: tuple[AppHarness, AppHarness], query: str) -> None:
    for event in ORDINARY:
        both(pair, "POST", f"/v1/events{query}", json=event)
    for path in PATHS[:3]:
        assert both(pair, "GET", f"/v1/users/{path}/recommendations{query}").status_code == 200


@pytest.mark.parametrize("query", ODD_QUERIES)
def test_unusual_queries_get_same_response(pair: tuple[AppHarness, AppHarness], query: str) -> None:
    both(pair, "POST", f"/v1/events{query}", json=GOOD)
    both(pair, "GET", f"/v1/users/ann/recommendations{query}")


@pytest.mark.parametrize(
    "body", [*BAD_BODIES, *(json.dumps(event).encode() for event in BAD_EVENTS)], ids=lambda body: repr(body[:40])
)
def test_invalid_bodies_get_same_response(pair: tuple[AppHarness, AppHarness], body: bytes) -> None:
    assert both(pair, "POST", "/v1/events?k=1", content=body, headers=JSON).status_code in (400, 422)


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-type": "text/plain"}, {"content-type": "application/json; charset=utf-8"}, {"x-request-id": "r"}],
)
def test_other_media_types_get_same_response(pair: tuple[AppHarness, AppHarness], headers: dict[str, str]) -> None:
    both(pair, "POST", "/v1/events", content=json.dumps(GOOD), headers=headers)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_unusual_paths_get_same_response(pair: tuple[AppHarness, AppHarness], method: str, path: str) -> None:
    both(pair, method, f"/v1/users/{path}/recommendations")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    event=st.fixed_dictionaries(
        {"user_id": st.text(min_size=1, max_size=8)},
        optional={
            "item_id": st.one_of(st.text(max_size=8), st.integers()),
            "timestamp": st.one_of(st.none(), st.floats(), st.integers(), st.datetimes().map(str)),
            "event_id": st.one_of(st.none(), st.text(max_size=4)),
        },
    ),
    query=st.lists(st.tuples(st.sampled_from(["k", "exclude_seen", "x"]), st.text("019-+.tf ", max_size=3))),
)
def test_generated_events_get_same_response(
    pair: tuple[AppHarness, AppHarness], event: dict[str, Any], query: list[tuple[str, str]]
) -> None:
    both(pair, "POST", "/v1/events", content=json.dumps(event), headers=JSON, params=query)


def test_unavailable_store_gets_same_response(tmp_path: Path) -> None:
    stores = MemoryStore(), MemoryStore()
    harnesses = [
        AppHarness(tmp_path, store=store, fast_path=enabled).start()
        for store, enabled in zip(stores, (True, False), strict=True)
    ]
    for store in stores:
        store.down = True
    pair = harnesses[0], harnesses[1]
    assert both(pair, "POST", "/v1/events?k=1", json=GOOD).status_code == 503
    assert both(pair, "GET", "/v1/users/u/recommendations").headers["retry-after"]
    for harness in harnesses:
        assert "503" in harness.get("/metrics").text
        harness.close()


async def inner_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Application behind the fast path: it answers 418 and returns the body."""
    body = await Request(scope, receive).body()
    await Response(body, 418)(scope, receive, send)


def call_fast_path(harness: AppHarness, method: str, path: str, **arguments: Any) -> httpx.Response:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await FastPath(inner_app, ErrorHandlers())(
            {**scope, "app": harness.app, "path": scope["raw_path"].decode(), CALLER: ANONYMOUS_CALLER}, receive, send
        )

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.request(method, path, **arguments)

    return harness.run(ask())


@pytest.fixture
def started(tmp_path: Path) -> Iterator[AppHarness]:
    harness = AppHarness(tmp_path, store=MemoryStore()).start()
    yield harness
    harness.close()


def test_ordinary_requests_are_answered_by_fast_path(started: AppHarness) -> None:
    for query in QUERIES:
        assert call_fast_path(started, "POST", f"/v1/events{query}", json=GOOD).status_code == 200
        assert call_fast_path(started, "GET", f"/v1/users/%C3%BC%2Fx/recommendations{query}").status_code == 200


def test_other_requests_are_passed_on_unchanged(started: AppHarness) -> None:
    async def in_parts() -> Any:
        for part in (b'{"user', b'_id": 7', b"}"):
            yield part

    for body in BAD_BODIES:
        response = call_fast_path(started, "POST", "/v1/events", content=body, headers=JSON)
        assert (response.status_code, response.content) == (418, body)
    assert (
        call_fast_path(started, "POST", "/v1/events", content=in_parts(), headers=JSON).content == b'{"user_id": 7}'
    )
    assert call_fast_path(started, "POST", "/v1/events?x=1", json=GOOD).status_code == 418
    assert call_fast_path(started, "POST", "/v1/events/batch", json=GOOD).status_code == 418
    assert call_fast_path(started, "GET", "/v1/users/a/b/recommendations").status_code == 418
    started.stop()
    assert call_fast_path(started, "POST", "/v1/events", json=GOOD).status_code == 418


@pytest.mark.anyio
@pytest.mark.parametrize(("size", "messages"), [(MAX_WHOLE_BYTES, [WHOLE_RESPONSE]), (MAX_WHOLE_BYTES + 1, PARTS)])
async def test_only_a_short_answer_is_sent_whole(
    size: int, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(*_: object) -> bytes:
        return b"x" * size

    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(message["type"])

    monkeypatch.setattr(fast_path, "answer_recommendations", answer)
    path = "/v1/users/u/recommendations"
    app = SimpleNamespace(state=SimpleNamespace(services=SimpleNamespace(recommender=None)))
    scope = {"type": "http", "app": app, "method": "GET", "path": path, "query_string": b"", CALLER: None}
    await FastPath(None, None)(scope | {"extensions": EXTENSIONS}, None, send)  # type: ignore[arg-type]
    assert sent == messages
