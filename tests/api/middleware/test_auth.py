"""API keys and scopes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.api.app_harness import AppHarness
from tests.api.conftest import KEY

OPEN = {"/", "/healthz", "/readyz", "/docs", "/openapi.json"}

BEARER = {"authorization": f"Bearer {KEY}"}


def test_server_without_keys_is_open_except_administration(harness: AppHarness) -> None:
    assert harness.get("/v1/model").status_code == 200
    assert harness.get("/metrics").status_code == 200
    assert "RECBLR_API_KEYS" in harness.refused(403, harness.post("/v1/admin/reload"))["message"]


def test_server_with_keys_needs_key_for_every_operation_except_open_ones(guarded: AppHarness) -> None:
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
def test_wrong_key_is_401(guarded: AppHarness, headers: dict[str, str]) -> None:
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
def test_known_key_is_accepted_in_either_header(guarded: AppHarness, headers: Any) -> None:
    assert guarded.get("/v1/model", headers=headers).status_code == 200
    assert guarded.get("/metrics", headers=headers).status_code == 200


def _hashed(scopes: str, key: str) -> str:
    return f"{scopes}:sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def test_key_is_limited_to_its_scopes(tmp_path: Path) -> None:
    entries = (_hashed("read", "r"), _hashed("erase", "e"), _hashed("admin", "a"), _hashed("read+erase", "re"))
    harness = AppHarness(tmp_path, keys=entries).start()
    calls = {
        "read": ("GET", "/v1/users/u/recommendations"),
        "erase": ("DELETE", "/v1/users/u"),
        "admin": ("POST", "/v1/admin/reload"),
    }
    held = {"r": {"read"}, "e": {"erase"}, "a": {"admin"}, "re": {"read", "erase"}}
    for key, scopes in held.items():
        for scope, (method, path) in calls.items():
            body: dict[str, Any] = {"json": {}} if method == "POST" else {}
            response = harness.call(method, path, headers={"x-api-key": key}, **body)
            if scope in scopes:
                assert response.status_code == 200, (key, scope)
            else:
                error = harness.refused(403, response)
                assert (error["code"], scope in error["message"]) == ("forbidden", True)
    # A request may carry two keys; one of them with the scope suffices.
    both = [("x-api-key", "r"), ("x-api-key", "e")]
    assert harness.delete("/v1/users/u", headers=both).status_code == 200
    # An unknown path needs a key too, and answers 404 to a key of any scope.
    harness.refused(401, harness.get("/v1/nothing"))
    harness.refused(404, harness.get("/v1/nothing", headers={"x-api-key": "a"}))
    harness.refused(403, harness.get("/v1/admin/nothing", headers={"x-api-key": "re"}))
    harness.close()


def test_other_spelling_of_path_does_not_bypass_key(guarded: AppHarness) -> None:
    for path in ("/%76%31/model", "//v1/model", "/v1%2Fmodel", "/V1/model", "/%6detrics"):
        assert guarded.get(path).status_code in (401, 404)


def test_key_is_checked_before_body_is_read(guarded: AppHarness) -> None:
    assert guarded.post("/v1/events", content=b"{" * 5_000_000).status_code == 401
