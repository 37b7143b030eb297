"""Host header on a server without keys."""

from __future__ import annotations

import pytest

from tests.api.app_harness import AppHarness

OWN = ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "10.0.0.7", "test"]
FOREIGN = ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "1.2.3.4.5", "", "a@localhost"]


@pytest.mark.parametrize("host", OWN)
def test_own_names_and_addresses_are_served(harness: AppHarness, host: str) -> None:
    assert harness.get("/v1/model", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/users/u"), ("DELETE", "/v1/users/u"), ("GET", "/"), ("GET", "/readyz")]
)
def test_rebound_name_is_403(harness: AppHarness, host: str, method: str, path: str) -> None:
    error = harness.refused(403, harness.call(method, path, headers={"host": host}))
    assert "RECBLR_ALLOWED_HOSTS" in error["message"]


def test_fast_path_is_checked_too(harness: AppHarness) -> None:
    body = {"user_id": "rebound", "item_id": "10"}
    harness.refused(403, harness.post("/v1/events", json=body, headers={"host": "evil.example"}))
    assert harness.get("/v1/users/rebound").status_code == 404


def test_server_with_keys_does_not_check_hosts(guarded: AppHarness) -> None:
    assert guarded.get("/healthz", headers={"host": "shop.example"}).status_code == 200
