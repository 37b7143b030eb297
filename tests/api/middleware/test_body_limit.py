"""Limit on the size of request bodies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

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
