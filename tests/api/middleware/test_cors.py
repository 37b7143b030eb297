"""CORS headers on every kind of response, and preflight requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.core.errors import Overloaded
from tests.api.app_harness import AppHarness
from tests.api.conftest import KEY
from tests.api.test_exception_handlers import FailingEngine
from tests.core.memory_store import MemoryStore

ORIGIN = "https://shop.example"
PAGE = {"origin": ORIGIN, "x-api-key": KEY}
ASKS = {"origin": ORIGIN, "access-control-request-method": "POST"}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[AppHarness]:
    harness = AppHarness(tmp_path, keys=(KEY,), origins=(ORIGIN, "http://localhost:3000")).start()
    yield harness
    harness.close()


@pytest.mark.parametrize(
    ("status", "method", "path", "more"),
    [
        (200, "GET", "/v1/model", {}),
        (200, "GET", "/v1/users/u/recommendations", {}),
        (200, "GET", "/healthz", {}),
        (200, "GET", "/docs/swagger-ui.css", {}),
        (401, "GET", "/v1/model", {"headers": {"origin": ORIGIN}}),
        (401, "OPTIONS", "/v1/model", {"headers": {"origin": ORIGIN}}),
        (404, "GET", "/v1/nothing", {}),
        (404, "GET", "/v1/users/u", {}),
        (405, "PUT", "/v1/events", {}),
        (413, "POST", "/v1/events", {"content": b"x" * 5_000_000}),
        (422, "POST", "/v1/events", {"json": {}}),
        (422, "GET", "/v1/user", {}),
        (422, "POST", "/v1/events", {"content": b"x", "headers": {**PAGE, "content-encoding": "gzip"}}),
        (403, "OPTIONS", "/v1/events", {"headers": {**ASKS, "access-control-request-method": "BREW"}}),
    ],
)
def test_response_names_the_allowed_origin(
    harness: AppHarness, status: int, method: str, path: str, more: dict[str, Any]
) -> None:
    response = harness.call(method, path, **{"headers": PAGE, **more})
    assert response.status_code == status
    assert response.headers.get_list("access-control-allow-origin") == [ORIGIN]
    assert response.headers["access-control-expose-headers"] == "X-Request-ID, Retry-After"
    assert response.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in response.headers
    if status >= 400:
        harness.refused(status, response)
    other = harness.call(
        method, path, **{**more, "headers": {**more.get("headers", PAGE), "origin": f"{ORIGIN}.evil"}}
    )
    assert "access-control-allow-origin" not in other.headers
    assert other.headers["vary"] == "Origin"


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("x"), 500), (Overloaded("full"), 429)])
@pytest.mark.parametrize("path", ["/v1/users/u/recommendations", "/v1/users/u/recommendations?unknown=1"])
def test_failures_name_the_allowed_origin(tmp_path: Path, error: Exception, status: int, path: str) -> None:
    harness = AppHarness(tmp_path, engine=FailingEngine(error), origins=(ORIGIN,)).start()
    response = harness.get("/v1/users/u/recommendations", headers={"origin": ORIGIN})
    harness.refused(status, response)
    assert response.headers["access-control-allow-origin"] == ORIGIN
    refused = harness.get("/v1/model", headers={"origin": ORIGIN, "host": "rebound.example"})
    harness.refused(403, refused)
    assert refused.headers["access-control-allow-origin"] == ORIGIN
    harness.close()


def test_outage_names_the_allowed_origin(tmp_path: Path) -> None:
    store = MemoryStore()
    harness = AppHarness(tmp_path, store=store, origins=(ORIGIN,)).start()
    store.down = True
    response = harness.get("/readyz", headers={"origin": ORIGIN})
    harness.refused(503, response)
    assert response.headers["access-control-allow-origin"] == ORIGIN
    harness.close()


def test_preflight_allows_every_method_of_a_route_and_every_header_of_a_client(harness: AppHarness) -> None:
    methods = {method.upper() for operations in harness.app.openapi()["paths"].values() for method in operations}
    for method in methods:
        response = harness.call(
            "OPTIONS",
            "/v1/events",
            headers={
                **ASKS,
                "access-control-request-method": method,
                "access-control-request-headers": "authorization, X-API-Key,content-type,content-encoding",
            },
        )
        assert response.status_code == 200
        assert methods <= set(response.headers["access-control-allow-methods"].split(", "))
        assert "content-encoding" in response.headers["access-control-allow-headers"].lower()
        assert response.headers.get_list("access-control-allow-origin") == [ORIGIN]
        assert int(response.headers["access-control-max-age"]) > 0


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({"origin": f"{ORIGIN}.evil"}, "RECBLR_CORS_ORIGINS"),
        ({"origin": "null"}, "RECBLR_CORS_ORIGINS"),
        ({"origin": ORIGIN.upper()}, "RECBLR_CORS_ORIGINS"),
        ({"access-control-request-method": "BREW"}, "method"),
        ({"access-control-request-headers": "x-api-key, cookie"}, "X-API-Key"),
    ],
)
def test_refused_preflight_says_why(harness: AppHarness, headers: dict[str, str], word: str) -> None:
    error = harness.refused(403, harness.call("OPTIONS", "/v1/events", headers={**ASKS, **headers}))
    assert error["code"] == "forbidden"
    assert word in error["message"]


def test_server_without_origins_has_no_cors_headers(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path, keys=(KEY,)).start()
    harness.refused(401, harness.call("OPTIONS", "/v1/events", headers=ASKS))
    answer = harness.get("/v1/model", headers=PAGE)
    assert not [name for name in answer.headers if name.startswith("access-control") or name == "vary"]
    harness.close()
