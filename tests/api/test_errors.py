"""One table, one shape, and nothing of the inside in an answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.api.errors import STATUS, error_response
from service.core.engine_requests import EngineRequest, EngineResult, StateDamagedError
from service.core.errors import Overloaded, RolloutRefused, ServiceError, StoreUnavailable
from service.core.ports import Engine
from tests.api.app_harness import AppHarness
from tests.core.fakes import FakeEngine, FakeModels, MemoryStore


def every_error(root: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    yield root
    for child in root.__subclasses__():
        yield from every_error(child)


def test_every_error_has_a_status_and_no_status_lacks_its_error() -> None:
    assert set(every_error()) == set(STATUS)


def test_every_code_is_its_own_except_the_root() -> None:
    codes = [error.code for error in every_error()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("error", STATUS, ids=lambda error: error.__name__)
def test_every_error_has_the_one_shape(error: type[ServiceError]) -> None:
    response = error_response(error("what to do", details=[{"field": "f", "problem": "p"}]))
    assert response.status_code == STATUS[error]
    body = json.loads(bytes(response.body))
    details = [{"field": "f", "problem": "p"}]
    assert body == {"error": {"code": error.code, "message": "what to do", "details": details}}
    assert ("retry-after" in response.headers) == (response.status_code in (429, 503))
    assert ("www-authenticate" in response.headers) == (response.status_code == 401)


def test_what_is_for_the_log_is_not_in_the_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    error = StoreUnavailable(
        "the event log did not answer in time", for_log="Redis at db:6379 did not answer in time"
    )
    harness = AppHarness(tmp_path, engine=FailingEngine(error)).start()
    response = harness.get("/v1/users/u/recommendations")
    assert harness.refused(503, response)["message"] == "the event log did not answer in time"
    assert "db:6379" not in response.text
    harness.close()


class FailingEngine(FakeEngine):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
        raise self._error


@pytest.mark.parametrize("route", ["hot", "declared"])
def test_a_fault_is_a_500_that_says_nothing_of_the_inside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, route: str
) -> None:
    harness = AppHarness(tmp_path, engine=FailingEngine(RuntimeError("secret inside"))).start()
    if route == "hot":
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


def test_too_much_at_once_is_429(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path, engine=FailingEngine(Overloaded("full; try again shortly"))).start()
    response = harness.get("/v1/users/u/recommendations")
    assert harness.refused(429, response)["code"] == "overloaded"
    assert response.headers["retry-after"] == "1"
    recorded = harness.post("/v1/events?k=1", json={"user_id": "u", "item_id": "1"}).json()
    assert (recorded["sequence"], recorded["recommendations"]) == (1, None)
    harness.close()


def test_a_store_that_is_down_is_503(tmp_path: Path) -> None:
    store = MemoryStore()
    harness = AppHarness(tmp_path, store=store).start()
    store.down = True
    response = harness.post("/v1/events", json={"user_id": "u", "item_id": "1"})
    assert harness.refused(503, response)["code"] == StoreUnavailable.code
    assert response.headers["retry-after"] == "1"
    results = harness.post("/v1/events/batch", json={"events": [{"user_id": "u", "item_id": "1"}]}).json()["results"]
    assert results[0]["error"]["code"] == StoreUnavailable.code
    harness.close()


def test_an_outage_is_one_warning_a_second_and_no_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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
    records = [vars(record) for record in caplog.records if record.name == "service.api.handlers"]
    assert [(record["levelname"], record["exc_info"]) for record in records] == [("WARNING", None)] * 4
    route = "/v1/users/{user_id}/recommendations"
    assert [(record["code"], record["route"], record["held_back_since_last"]) for record in records] == [
        ("overloaded", route, 0),
        ("store_unavailable", route, 0),
        ("store_unavailable", route, 4),
        ("not_ready", "/readyz", 0),
    ]
    assert [record["reason"] for record in records[:2]] == [
        "full; try again shortly",
        "the event log does not answer",
    ]


class Refusing(FakeModels):
    async def reload(self, version: str | None) -> Engine:
        raise RolloutRefused("the weights do not match their checksum; publish the bundle again")


def test_a_refused_reload_is_409_and_the_live_model_stays(tmp_path: Path) -> None:
    key = "k" * 16
    harness = AppHarness(tmp_path, keys=(key,), models=Refusing(FakeEngine())).start()
    headers: dict[str, Any] = {"x-api-key": key}
    assert harness.refused(409, harness.post("/v1/admin/reload", headers=headers))["code"] == "reload_refused"
    assert harness.get("/v1/model", headers=headers).json()["version"] == "v1"
    harness.close()
