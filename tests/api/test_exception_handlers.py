"""Exceptions become error responses and log messages."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.core.engine_requests import EngineRequest, EngineResult
from service.core.errors import Overloaded, StateDamagedError, StoreUnavailable
from tests.api.app_harness import AppHarness
from tests.core.fakes import FakeEngine
from tests.core.memory_store import MemoryStore


class FailingEngine(FakeEngine):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
        raise self._error


def test_message_for_log_is_not_in_response(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    error = StoreUnavailable(
        "the event log did not answer in time", for_log="Redis at db:6379 did not answer in time"
    )
    harness = AppHarness(tmp_path, engine=FailingEngine(error)).start()
    response = harness.get("/v1/users/u/recommendations")
    assert harness.refused(503, response)["message"] == "the event log did not answer in time"
    assert "db:6379" not in response.text
    harness.close()


@pytest.mark.parametrize("route", ["fast path", "declared"])
def test_unexpected_exception_is_500_without_internals(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, route: str
) -> None:
    harness = AppHarness(tmp_path, engine=FailingEngine(RuntimeError("secret inside"))).start()
    if route == "fast path":
        response = harness.get("/v1/users/u/recommendations")
    else:
        response = harness.post("/v1/users/u/rank", json={"candidates": ["1"]})
    assert harness.refused(500, response)["code"] == "internal_error"
    assert "secret" not in response.text
    assert response.headers["x-request-id"]
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(records) == 1
    assert "secret inside" in str(records[0].exc_info)
    harness.close()


def test_overload_is_429_and_event_is_stored(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path, engine=FailingEngine(Overloaded("full; try again shortly"))).start()
    response = harness.get("/v1/users/u/recommendations")
    assert harness.refused(429, response)["code"] == "overloaded"
    assert response.headers["retry-after"] == "1"
    recorded = harness.post("/v1/events?k=1", json={"user_id": "u", "item_id": "1"}).json()
    assert (recorded["sequence"], recorded["recommendations"]) == (1, None)
    harness.close()


def test_unavailable_store_is_503(tmp_path: Path) -> None:
    store = MemoryStore()
    harness = AppHarness(tmp_path, store=store).start()
    store.down = True
    response = harness.post("/v1/events", json={"user_id": "u", "item_id": "1"})
    assert harness.refused(503, response)["code"] == StoreUnavailable.code
    assert response.headers["retry-after"] == "1"
    results = harness.post("/v1/events/batch", json={"events": [{"user_id": "u", "item_id": "1"}]}).json()["results"]
    assert results[0]["error"]["code"] == StoreUnavailable.code
    harness.close()


def test_outage_is_logged_once_per_second_without_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    store, engine = MemoryStore(), FailingEngine(Overloaded("full; try again shortly"))
    harness = AppHarness(tmp_path, store=store, engine=engine, clock=lambda: now).start()
    harness.refused(429, harness.get("/v1/users/u/recommendations"))
    store.down = True
    for _ in range(5):
        harness.refused(503, harness.get("/v1/users/alice/recommendations"))
    now += 1.0
    harness.refused(503, harness.get("/v1/users/alice/recommendations"))
    harness.refused(503, harness.get("/readyz"))
    harness.close()
    records = [vars(record) for record in caplog.records if record.name == "service.api.exception_handlers"]
    assert [(record["levelname"], record["exc_info"]) for record in records] == [("WARNING", None)] * 4
    route = "/v1/users/{user_id}/recommendations"
    assert [(record["code"], record["route"], record["suppressed"]) for record in records] == [
        ("overloaded", route, 0),
        ("store_unavailable", route, 0),
        ("store_unavailable", route, 4),
        ("not_ready", "/readyz", 0),
    ]
    assert [record["reason"] for record in records[:2]] == [
        "full; try again shortly",
        "the event log does not answer",
    ]


def test_unknown_path_is_404_and_unknown_method_is_405(harness: AppHarness) -> None:
    assert harness.refused(404, harness.get("/v1/nothing"))["code"] == "not_found"
    assert harness.refused(404, harness.get("/v1/users/u/"))["code"] == "not_found"
    response = harness.call("PUT", "/v1/events")
    assert harness.refused(405, response)["code"] == "method_not_allowed"
    assert response.headers["allow"]
