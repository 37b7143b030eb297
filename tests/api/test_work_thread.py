"""The thread for large bodies and long answers."""

from __future__ import annotations

import json
import math
import threading

import pytest

from service.api import work_thread
from service.api.app import _ROUTERS
from service.api.routes.catalogue.item_batches import _SlicedRoute
from service.api.schemas import json_structure
from tests.api.app_harness import AppHarness
from tests.core.fakes import CATALOGUE

JSON = {"content-type": "application/json"}


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the names of the functions that run in the thread."""
    names: list[str] = []
    submit = work_thread._thread.submit

    def recorded(work: object, *arguments: object) -> object:
        def run() -> object:
            assert threading.current_thread().name.startswith("requests")
            return work(*arguments)  # type: ignore[operator]

        names.append(getattr(work, "__name__", "?"))
        return submit(run)

    monkeypatch.setattr(work_thread._thread, "submit", recorded)
    return names


def candidates(size: int) -> bytes:
    return json.dumps({"candidates": ["10"]}).encode().ljust(size - 1) + b" "


def test_only_large_bodies_are_checked_and_parsed_in_the_thread(harness: AppHarness, work: list[str]) -> None:
    ids = {"candidates": ["x" * 200] * 400}
    assert harness.post("/v1/users/u/rank", json={"candidates": ["10"]}).status_code == 200
    assert harness.post("/v1/users/u/rank", content=candidates(work_thread.MAX_INLINE_BYTES), headers=JSON).is_success
    assert work == []
    assert harness.post("/v1/users/u/rank", json=ids).is_success
    assert work == ["_check_new_parts", "_join_large", "parse"]


def test_every_route_with_a_body_parses_it_in_slices() -> None:
    routes = [route for router in _ROUTERS for route in router.routes if getattr(route, "body_field", None)]
    assert len(routes) > 10
    for route in routes:
        assert isinstance(route, work_thread.BodyRoute | _SlicedRoute), route


def test_padding_of_a_large_body_is_not_parsed(harness: AppHarness, work: list[str]) -> None:
    large = candidates(work_thread.MAX_INLINE_BYTES + 1)
    assert harness.post("/v1/users/u/rank", content=large, headers=JSON).is_success
    assert work == ["_check_new_parts", "_join_large"]


def test_batch_is_validated_and_encoded_in_the_thread(harness: AppHarness, work: list[str]) -> None:
    response = harness.post("/v1/events/batch", json={"events": [{"user_id": "u", "item_id": "10"}, {"user_id": 1}]})
    assert [set(result) for result in response.json()["results"]] == [
        {"user_id", "sequence", "duplicate", "known_item"},
        {"error"},
    ]
    assert work == ["_new_events", "_batch_out"]


def test_long_answers_are_encoded_in_the_thread(
    harness: AppHarness, work: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [
        ("POST", "/v1/events?k=50", {"user_id": "u", "item_id": "10"}),
        ("GET", "/v1/users/u/recommendations?k=50", None),
        ("POST", "/v1/recommendations", {"history": [], "k": 50}),
        ("POST", "/v1/users/u/rank", {"candidates": list(CATALOGUE)}),
    ]
    short = [harness.call(method, path, json=body).json() for method, path, body in calls]
    assert work == []
    monkeypatch.setattr("service.api.answers.MAX_INLINE_ITEMS", 10)
    long = [harness.call(method, path, json=body).json() for method, path, body in calls]
    assert len(work) == len(calls)
    assert long[1:] == [short[1] | {"sequence": 2}, short[2], short[3] | {"sequence": 2}]
    assert long[0]["recommendations"]["items"] == short[0]["recommendations"]["items"]


def test_answers_with_entries_are_encoded_in_the_thread_earlier(
    harness: AppHarness, work: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.answers.MAX_INLINE_ENTRIES", 10)
    question = ("/v1/users/u/recommendations", {"k": 11})
    assert harness.post(question[0], json=question[1]).is_success
    assert work == []
    assert harness.call("PUT", "/v1/items/10", json={"title": "t"}).is_success
    assert harness.post(question[0], json=question[1]).is_success
    assert work == ["encode"]


def test_long_json_is_that_of_one_call() -> None:
    rows = [{"id": f'"rows":[]{number}'} for number in range(60)]
    for count in (0, 1, 24, 25, 26, 60):
        out = {"before": '"rows":[]', "rows": rows[:count], "after": math.nan}
        assert work_thread.encode_long(dict(out), "rows") == work_thread.encoded(out)
        inner = {"event": 1, "inner": dict(out)}
        assert work_thread.encode_long(inner, "rows", 7, inner["inner"]) == work_thread.encoded(
            {"event": 1, "inner": out}
        )


def test_too_long_answer_is_refused_and_its_event_is_stored(
    harness: AppHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.work_thread.MAX_ANSWER_BYTES", 100)
    monkeypatch.setattr("service.api.answers.MAX_INLINE_ITEMS", 10)
    assert "16 MiB" in harness.refused(422, harness.get("/v1/users/u/recommendations?k=11"))["message"]
    assert harness.call("PUT", "/v1/filters/long", json={"expression": f"item_id = '{'a' * 100}'"}).is_success
    assert "16 MiB" in harness.refused(422, harness.get("/v1/filters"))["message"]
    stored = harness.post("/v1/events?k=11", json={"user_id": "u", "item_id": "10"}).json()
    assert (stored["sequence"], stored["recommendations"]) == (1, None)


def test_metrics_are_rendered_in_the_thread(harness: AppHarness, work: list[str]) -> None:
    assert "recblr_" in harness.get("/metrics").text
    assert work == ["render"]


def test_broken_json_of_a_large_body_is_422(
    harness: AppHarness, work: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b'{"candidates": ["' + b'a", "' * 20_000
    monkeypatch.setattr(json_structure, "MAX_VALUES", 50_000)
    response = harness.post("/v1/users/u/rank", content=body[:100_000] + b"x" * 100, headers=JSON)
    assert harness.refused(422, response)
    assert work
