"""Keys, the administration, request ids and what stays open."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter

from service.api.scopes import RouteScopes
from tests.api.app_harness import AppHarness
from tests.api.conftest import KEY

OPEN = {"/", "/healthz", "/readyz", "/docs", "/openapi.json"}
BEARER = {"authorization": f"Bearer {KEY}"}


def test_without_keys_the_api_is_open_and_the_administration_closed(harness: AppHarness) -> None:
    assert harness.get("/v1/model").status_code == 200
    assert harness.get("/metrics").status_code == 200
    assert "RECBLR_API_KEYS" in harness.refused(403, harness.post("/v1/admin/reload"))["message"]


def test_with_keys_every_operation_but_the_open_ones_needs_one(guarded: AppHarness) -> None:
    for path, operations in guarded.app.openapi()["paths"].items():
        for method in operations:
            status = guarded.call(method.upper(), path).status_code
            assert (status != 401) == (path in OPEN), (method, path)
    for path in OPEN - {"/"}:
        assert guarded.get(path).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": f"Bearer {KEY[:-1]}"},
        {"authorization": "Bearer"},
        {"x-api-key": ""},
        {"x-api-key": KEY + "x"},
        {"authorization": b"Bearer \xff\xfe"},
        {"authorization": "Bearer wrong", "x-api-key": "wrong, too"},
    ],
)
def test_a_wrong_key(guarded: AppHarness, headers: dict[str, str]) -> None:
    response = guarded.post("/v1/events", json={"user_id": "u", "item_id": "1"}, headers=headers)
    assert guarded.refused(401, response)["code"] == "unauthorized"
    assert response.headers["www-authenticate"] == "Bearer"
    assert KEY not in response.text
    assert guarded.get("/v1/users/u", headers=BEARER).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        BEARER,
        {"authorization": f"bearer  {KEY}"},
        {"x-api-key": KEY},
        {"x-api-key": f" {KEY} "},
        {"authorization": "Bearer wrong", "x-api-key": KEY},
        {"x-api-key": KEY, "authorization": "Bearer wrong"},
        {"x-api-key": "wrong", "authorization": f"Bearer {KEY}"},
        [("x-api-key", "wrong"), ("x-api-key", KEY)],
    ],
)
def test_a_right_key(guarded: AppHarness, headers: Any) -> None:
    assert guarded.get("/v1/model", headers=headers).status_code == 200
    assert guarded.get("/metrics", headers=headers).status_code == 200


def _hashed(scopes: str, key: str) -> str:
    return f"{scopes}:sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def test_a_key_does_what_its_scopes_say_and_no_more(tmp_path: Path) -> None:
    entries = (_hashed("read", "r"), _hashed("write", "w"), _hashed("admin", "a"), _hashed("read+write", "rw"))
    harness = AppHarness(tmp_path, keys=entries).start()
    calls = {
        "read": ("GET", "/v1/users/u/recommendations"),
        "write": ("DELETE", "/v1/users/u"),
        "admin": ("POST", "/v1/admin/reload"),
    }
    held = {"r": {"read"}, "w": {"write"}, "a": {"admin"}, "rw": {"read", "write"}}
    for key, scopes in held.items():
        for scope, (method, path) in calls.items():
            response = harness.call(method, path, headers={"x-api-key": key})
            if scope in scopes:
                assert response.status_code == 200, (key, scope)
            else:
                error = harness.refused(403, response)
                assert (error["code"], scope in error["message"]) == ("forbidden", True)
    # What a key may not do, a second one beside it may.
    both = [("x-api-key", "r"), ("x-api-key", "w")]
    assert harness.delete("/v1/users/u", headers=both).status_code == 200
    # A path that is not served asks for a key, and says no more to a key of whatever scope.
    harness.refused(401, harness.get("/v1/nothing"))
    harness.refused(404, harness.get("/v1/nothing", headers={"x-api-key": "a"}))
    harness.refused(403, harness.get("/v1/admin/nothing", headers={"x-api-key": "rw"}))
    harness.close()


def test_a_route_without_a_declared_scope_is_a_fault_at_the_start() -> None:
    router = APIRouter()
    router.add_api_route("/v1/forgotten", lambda: None)
    with pytest.raises(TypeError, match="/v1/forgotten declares no scope"):
        RouteScopes(router.routes)


def test_a_path_that_is_spelled_otherwise_is_no_way_in(guarded: AppHarness) -> None:
    for path in ("/%76%31/model", "//v1/model", "/v1%2Fmodel", "/V1/model", "/%6detrics"):
        assert guarded.get(path).status_code in (401, 404)


def test_the_key_is_asked_for_before_the_body_is_read(guarded: AppHarness) -> None:
    assert guarded.post("/v1/events", content=b"{" * 5_000_000).status_code == 401


def test_reload(guarded: AppHarness) -> None:
    newest = guarded.post("/v1/admin/reload", headers=BEARER)
    assert newest.json() == {"model_version": "v2", "previous_version": "v1"}
    chosen = guarded.post("/v1/admin/reload", headers=BEARER, json={"version": "2026.11-a"})
    assert chosen.json()["model_version"] == "2026.11-a"
    missing = guarded.post("/v1/admin/reload", headers=BEARER, json={"version": "missing"})
    assert guarded.refused(404, missing)["code"] == "model_version_not_found"
    for version in ("../x", "", "a/b", 3, "x" * 129, ".hidden"):
        guarded.refused(422, guarded.post("/v1/admin/reload", headers=BEARER, json={"version": version}))


def test_an_ab_test(guarded: AppHarness) -> None:
    reader: dict[str, Any] = {"headers": BEARER}
    assert guarded.get("/v1/model", **reader).json()["test"] is None
    assert guarded.refused(409, guarded.post("/v1/admin/test/end", headers=BEARER, json={"winner": "v1"}))
    begun = guarded.post("/v1/admin/test", headers=BEARER, json={"version": "v2", "share": 0.25})
    assert begun.json() == {"model_version": "v1", "tested_version": "v2", "share": 0.25}
    model = guarded.get("/v1/model", **reader).json()
    assert (model["version"], model["test"]["version"], model["test"]["share"]) == ("v1", "v2", 0.25)
    assert model["test"]["metrics"] == model["metrics"]
    page = guarded.get("/metrics", **reader).text
    assert 'recblr_model_info{version="v1"} 1.0' in page
    assert 'recblr_model_info{version="v2"} 1.0' in page
    refused = guarded.post("/v1/admin/test", headers=BEARER, json={"version": "v1", "share": 0.5})
    assert guarded.refused(409, refused)["code"] == "reload_refused"
    for share in (0, 1, -0.1, "0.5", None, True):
        body = {"version": "v2", "share": share}
        guarded.refused(422, guarded.post("/v1/admin/test", headers=BEARER, json=body))
    ended = guarded.post("/v1/admin/test/end", headers=BEARER, json={"winner": "v2"})
    assert ended.json() == {"model_version": "v2", "previous_version": "v1"}
    assert guarded.get("/v1/model", **reader).json()["test"] is None


def test_request_ids(harness: AppHarness) -> None:
    assert harness.get("/healthz", headers={"x-request-id": "my id-1"}).headers["x-request-id"] == "my id-1"
    generated = harness.get("/healthz").headers["x-request-id"]
    assert len(generated) == 32
    assert harness.get("/healthz").headers["x-request-id"] != generated
    for insane in ("", "x" * 129, b"caf\xc3\xa9", "a\tb"):
        given = harness.get("/healthz", headers={"x-request-id": insane}).headers["x-request-id"]
        assert len(given) == 32
    assert harness.get("/nowhere", headers={"x-request-id": "abc"}).headers["x-request-id"] == "abc"
