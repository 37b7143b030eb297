"""HEAD, and repeated query parameters."""

from __future__ import annotations

import pytest

from tests.api.app_harness import AppHarness, send_event
from tests.api.conftest import KEY


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/v1/model", "/v1/users/u", "/v1/users/u/recommendations", "/v1/nothing", "/docs"]
)
def test_head_has_status_and_headers_of_get(harness: AppHarness, path: str) -> None:
    send_event(harness, "10")
    get, head = harness.get(path), harness.call("HEAD", path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    own = {"x-request-id": "", **({"content-length": ""} if path == "/readyz" else {})}  # its body holds an age
    assert {**head.headers, **own} == {**get.headers, **own}
    if path == "/v1/users/u":
        assert 'method="HEAD",route="/v1/users/{user_id}"' in harness.get("/metrics").text


def test_head_needs_the_key_of_get(guarded: AppHarness) -> None:
    assert guarded.call("HEAD", "/v1/model").status_code == 401
    assert guarded.call("HEAD", "/v1/model", headers={"x-api-key": KEY}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/users/u", "DELETE, GET, HEAD"),
        ("GET", "/v1/events", "POST"),
        ("HEAD", "/v1/events", "POST"),
        ("DELETE", "/healthz", "GET, HEAD"),
    ],
)
def test_allow_lists_all_methods_of_the_path(harness: AppHarness, method: str, path: str, allow: str) -> None:
    response = harness.call(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allow)


@pytest.mark.parametrize("query", ["k=3&k=4", "k=3&k=3", "k=3&%6B=4", "k&k"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/users/u/recommendations"), ("POST", "/v1/events"), ("GET", "/v1/items/10/similar")],
)
def test_repeated_parameter_is_422(harness: AppHarness, method: str, path: str, query: str) -> None:
    body = {"user_id": "repeated", "item_id": "10"} if method == "POST" else None
    error = harness.refused(422, harness.call(method, f"{path}?{query}", json=body))
    assert error["details"] == [{"field": "k", "problem": "is given more than once; send it once"}]
    assert harness.get("/v1/users/repeated").status_code == 404
