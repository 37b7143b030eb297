"""Limit on the size of request bodies."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator

import pytest

from service.api.schemas.requests import EventIn
from tests.api.app_harness import AppHarness

JSON = {"content-type": "application/json"}


def test_body_with_large_declared_length_is_413(harness: AppHarness) -> None:
    response = harness.post("/v1/events", content=b" " * 10_000_000, headers=JSON)
    assert harness.refused(413, response)["code"] == "payload_too_large"


def test_large_body_is_refused_while_it_arrives(harness: AppHarness) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100_000_000:
            sent += 1_000_000
            yield b" " * 1_000_000

    response = harness.post("/v1/events", content=endless(), headers=JSON)
    assert harness.refused(413, response)["code"] == "payload_too_large"
    assert sent <= 6_000_000


def test_body_within_limit_is_read(harness: AppHarness) -> None:
    padded = json.dumps({"user_id": "another", "item_id": "1"}).encode() + b" " * 4_000_000
    assert harness.post("/v1/events", content=padded, headers=JSON).status_code == 200


def test_gzip_body_is_decompressed(harness: AppHarness) -> None:
    event = json.dumps({"user_id": "zip", "item_id": "1"}).encode()
    for query in ("", "?k=1"):
        response = harness.post(
            f"/v1/events{query}", content=gzip.compress(event), headers={**JSON, "content-encoding": "gzip"}
        )
        assert response.status_code == 200, response.text
    assert harness.get("/v1/users/zip").json()["events"] == 2


def test_gzip_body_is_limited_after_decompression(harness: AppHarness) -> None:
    headers = {**JSON, "content-encoding": "gzip"}
    bomb = gzip.compress(b" " * 40_000_000, compresslevel=1)
    assert len(bomb) < 4_000_000
    assert harness.refused(413, harness.post("/v1/events", content=bomb, headers=headers))


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "deflate"])
def test_other_content_codings_are_422(harness: AppHarness, coding: str) -> None:
    response = harness.post("/v1/events", content=b"{}", headers={**JSON, "content-encoding": coding})
    assert "gzip" in harness.refused(422, response)["message"]


@pytest.mark.parametrize("body", [b"{}", gzip.compress(b"{}", mtime=0)[:-4], gzip.compress(b"{}", mtime=0) * 2])
def test_broken_gzip_is_422(harness: AppHarness, body: bytes) -> None:
    response = harness.post("/v1/events", content=body, headers={**JSON, "content-encoding": "gzip"})
    assert "gzip" in harness.refused(422, response)["message"]


def operations_with_a_body(harness: AppHarness) -> list[tuple[str, str]]:
    """Return method and path of each.

    Every id and name is `batch`, as some paths end.
    """
    paths = harness.app.openapi()["paths"]
    return [
        (method.upper(), re.sub(r"\{\w+\}", "batch", path))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if "requestBody" in operation
    ]


def test_many_unknown_fields_are_refused_before_they_are_parsed(harness: AppHarness) -> None:
    body = ("{" + ",".join(f'"f{number}":1' for number in range(300_000)) + "}").encode()
    query = "?user_id=batch&item_id=batch&name=batch&event_id=batch"
    operations = operations_with_a_body(harness)
    assert ("PUT", "/v1/items/batch") in operations
    for method, path in operations:
        if path.startswith("/v1/admin/") or (path == "/v1/items/batch" and method == "POST"):  # the latter in slices
            continue
        by_query = query if re.match(r"/v1/(user|item|filter|attribute)\b", path) else ""
        response = harness.call(method, path + by_query, content=body, headers=JSON)
        error = harness.refused(422, response)
        assert "details" not in error and "too many fields" in error["message"], (method, path)
        assert len(response.content) < 300


def test_batch_of_1000_events_with_every_field_is_read(harness: AppHarness) -> None:
    fields = {"timestamp": 1e9, "type": "purchase", "value": 19.99, "recommendation_id": "x" * 512}
    assert {*fields, "user_id", "item_id", "event_id"} == set(EventIn.model_fields)
    events = [{"user_id": "full", "item_id": "1", "event_id": f"full-{number}", **fields} for number in range(1000)]
    results = harness.post("/v1/events/batch", json={"events": events}).json()["results"]
    assert [result["sequence"] for result in results] == list(range(1, 1001))


def test_utf_16_is_422(harness: AppHarness) -> None:
    body = json.dumps({"user_id": "u", "item_id": "1"}).encode("utf-16")
    assert "UTF-8" in harness.refused(422, harness.post("/v1/events", content=body, headers=JSON))["message"]
