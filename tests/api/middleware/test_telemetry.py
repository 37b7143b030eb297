"""Request ids, response headers and request log lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from service.api_keys import digest_of
from service.observability.access_log import AccessLog
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


SHOP, OPERATOR = "the key of the shop", "the key of the operator"


def hashed(name: str, scopes: str, key: str) -> str:
    return f"{name}={scopes}:sha256:{digest_of(key.encode()).hex()}"


@pytest.fixture
def named(tmp_path: Path) -> Iterator[tuple[AppHarness, list[str]]]:
    """Application with two named keys, and the writes of its access log."""
    writes: list[str] = []
    keys = (hashed("shop", "append+read", SHOP), hashed("operator", "admin", OPERATOR))
    harness = AppHarness(tmp_path, keys=keys, access_log=AccessLog(writes.append)).start()
    yield harness, writes
    harness.close()


def test_every_request_has_one_access_log_line_with_its_caller(named: tuple[AppHarness, list[str]]) -> None:
    harness, writes = named
    shop = {"x-api-key": SHOP}
    harness.post("/v1/events?k=1", json={"user_id": "u", "item_id": "10"}, headers=shop)
    harness.get("/v1/users/u/recommendations", headers=shop)
    harness.get("/v1/users/alice", headers={**shop, "x-request-id": 'a"b\\c'})
    harness.delete("/v1/users/u", headers=shop)
    harness.get("/v1/model", headers={"x-api-key": "unknown"})
    harness.call("BREW", "/healthz")
    harness.call("HEAD", "/v1/users/u/recommendations", headers=shop)
    harness.stop()
    lines: list[dict[str, Any]] = [json.loads(line) for line in "".join(writes).splitlines()]
    assert [(line["caller"], line["method"], line["route"], line["status"]) for line in lines] == [
        ("shop", "POST", "/v1/events", 200),
        ("shop", "GET", "/v1/users/{user_id}/recommendations", 200),
        ("shop", "GET", "/v1/users/{user_id}", 404),
        ("shop", "DELETE", "unmatched", 403),
        ("anonymous", "GET", "unmatched", 401),
        ("anonymous", "other", "/healthz", 405),
        ("shop", "HEAD", "/v1/users/{user_id}/recommendations", 200),
    ]
    assert lines[2]["request_id"] == 'a"b\\c'
    for line in lines:
        assert (line["level"], line["message"]) == ("INFO", "request")
        assert 0 < line["seconds"] < 60
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)


def test_log_lines_of_a_request_have_request_id_and_caller(
    named: tuple[AppHarness, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    harness, _ = named
    try:
        configure_logging("info")
        headers = {"x-request-id": "abc", "x-api-key": OPERATOR}
        assert harness.post("/v1/admin/reload", headers=headers, json={}).status_code == 200
        harness.get("/v1/admin/nothing", headers=headers)
        harness.get("/v1/model", headers={"x-api-key": SHOP})
    finally:
        root.handlers[:], root.level = before
        logging.captureWarnings(False)
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    admin = [line for line in lines if line["message"] == "administration request"]
    assert [(line["route"], line["status"]) for line in admin] == [("/v1/admin/reload", 200), ("unmatched", 404)]
    for line in admin:
        assert (line["level"], line["caller"], line["request_id"]) == ("INFO", "operator", "abc")
        assert line["timestamp"]


def test_large_body_is_sent_in_pieces(harness: AppHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = harness.get("/openapi.json").content
    monkeypatch.setattr("service.api.middleware.telemetry.MAX_WRITTEN_BYTES", 1000)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "app": harness.app, "method": "GET", "path": "/openapi.json", "headers": []}
    harness.run(harness.app({**scope, "query_string": b""}, receive, send))
    pieces = [message["body"] for message in sent[1:]]
    assert b"".join(pieces) == expected
    assert max(map(len, pieces)) <= 1000
    assert [message["more_body"] for message in sent[1:]] == [True] * (len(pieces) - 1) + [False]


def test_large_answer_is_charged_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = AppHarness(tmp_path, keys=(OPERATOR.replace(" ", "-"),), rate_limit=20).start()
    headers = {"x-api-key": OPERATOR.replace(" ", "-")}
    for answer_bytes, status in ((1_000_000, 200), (10, 429)):
        monkeypatch.setattr("service.api.middleware.telemetry.MAX_WRITTEN_BYTES", 100)
        monkeypatch.setattr("service.api.request_costs._ANSWER_BYTES", answer_bytes)
        assert harness.get("/v1/users/u/recommendations?k=20", headers=headers).status_code == 200
        assert harness.get("/v1/users/u", headers=headers).status_code == (404 if status == 200 else status)
    harness.close()
