"""Request ids, response headers and request log lines."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from service.observability.logging import configure_logging
from tests.api.app_harness import AppHarness


def test_request_id_is_kept_if_printable_and_otherwise_generated(harness: AppHarness) -> None:
    assert harness.get("/healthz", headers={"x-request-id": "my id-1"}).headers["x-request-id"] == "my id-1"
    generated = harness.get("/healthz").headers["x-request-id"]
    assert len(generated) == 32
    assert harness.get("/healthz").headers["x-request-id"] != generated
    for insane in ("", "x" * 129, b"caf\xc3\xa9", "a\tb"):
        given = harness.get("/healthz", headers={"x-request-id": insane}).headers["x-request-id"]
        assert len(given) == 32
    assert harness.get("/nowhere", headers={"x-request-id": "abc"}).headers["x-request-id"] == "abc"


def test_responses_under_v1_are_not_cached_and_types_are_not_sniffed(harness: AppHarness) -> None:
    for path in ("/v1/users/u/recommendations", "/v1/users/u", "/v1/nothing"):
        headers = harness.get(path).headers
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert harness.get("/docs").headers["x-content-type-options"] == "nosniff"


def test_request_is_logged_as_json_with_request_id(harness: AppHarness, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        configure_logging("debug")
        harness.get("/v1/users/alice", headers={"x-request-id": "abc"})
    finally:
        root.handlers[:], root.level = before
        logging.captureWarnings(False)
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    access = [line for line in lines if line["message"] == "request"]
    assert len(access) == 1
    assert access[0]["request_id"] == "abc"
    assert (access[0]["level"], access[0]["route"], access[0]["status"]) == ("DEBUG", "/v1/users/{user_id}", 404)
    assert access[0]["timestamp"]
