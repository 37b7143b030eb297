"""Invalid requests are refused and change nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from service.api.schemas import requests
from tests.api.app_harness import AppHarness

GOOD = {"user_id": "u", "item_id": "1"}
GIVEN: dict[str, Any] = {"model_version": "v1", "sequence": 0, "items": []}

JSON = {"content-type": "application/json"}

BAD_IDS: list[Any] = ["", "x" * 257, "x" * 300, "a\0b", "a\nb", "\x7f", "\x85", 7, 1.5, True, None, ["a"], {}]

BAD_TIMES: list[Any] = [
    True,
    "yesterday",
    "",
    -1,
    253402300800,
    "1969-12-31",
    "10000-01-01",
    10**400,
    [],
    {},
    "9" * 99,
]

BAD_EVENTS: list[Any] = [
    *({**GOOD, "user_id": bad} for bad in BAD_IDS),
    *({**GOOD, "item_id": bad} for bad in BAD_IDS),
    *({**GOOD, "event_id": bad} for bad in [*(bad for bad in BAD_IDS if bad is not None), "seq-1"]),
    *({**GOOD, "timestamp": bad} for bad in BAD_TIMES),
    {**GOOD, "unknown": 1},
    {"user_id": "u"},
    {},
    [],
    "text",
    3,
    None,
]

BAD_BODIES = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"user_id": "u", "item_id": "1", "timestamp": NaN}',
    b'{"user_id": "u", "item_id": "1", "timestamp": Infinity}',
    b'{"user_id": "u", "item_id": "1", "timestamp": 1e999}',
    b'{"user_id": "u", "item_id": "1", "timestamp": ' + b"9" * 5000 + b"}",
    b'{"user_id": "\\ud800", "item_id": "1"}',
    b'{"user_id": "u", "item_id": "1", "\\ud800": 1}',
    b'{"user_id": "u", "item_id": "1", "\\u0000\\n": 1}',
]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppHarness]:
    """One application for all tests: refused requests change nothing."""
    harness = AppHarness(tmp_path_factory.mktemp("log")).start()
    yield harness
    harness.close()


def assert_nothing_changed(harness: AppHarness) -> None:
    assert harness.get("/v1/users/u").status_code == 404


@pytest.mark.parametrize("event", BAD_EVENTS, ids=lambda event: repr(event)[:60])
def test_invalid_event_is_refused_alone_and_in_batch(harness: AppHarness, event: Any) -> None:
    error = harness.refused(422, harness.post("/v1/events?k=1", content=json.dumps(event), headers=JSON))
    assert error["code"] == "invalid_request"
    assert error["details"]
    batch = harness.post("/v1/events/batch", content=json.dumps({"events": [event]}), headers=JSON)
    assert batch.json()["results"][0]["error"]["code"] == "invalid_request"
    assert_nothing_changed(harness)


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: repr(body[:50]))
@pytest.mark.parametrize(
    "path", ["/v1/events", "/v1/events/batch", "/v1/recommendations", "/v1/users/u/rank", "/v1/users/u/merge"]
)
def test_unreadable_body_is_refused(harness: AppHarness, path: str, body: bytes) -> None:
    response = harness.post(path, content=body, headers=JSON)
    assert response.status_code in (400, 422)
    harness.refused(response.status_code, response)
    assert_nothing_changed(harness)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/events?k=0", GOOD),
        ("POST", "/v1/events?k=10001", GOOD),
        ("POST", "/v1/events?k=", GOOD),
        ("POST", "/v1/events?exclude_seen=perhaps", GOOD),
        ("POST", "/v1/events?kk=1", GOOD),
        ("POST", "/v1/events/batch?k=1", {"events": [GOOD]}),
        ("POST", "/v1/events/batch", {"events": []}),
        ("POST", "/v1/events/batch", {"events": [GOOD] * 1001}),
        ("POST", "/v1/events/batch", {"events": [GOOD], "more": 1}),
        ("POST", "/v1/events/batch", {"events": {"0": GOOD}}),
        ("GET", "/v1/users/u/recommendations?k=0", None),
        ("GET", "/v1/users/u/recommendations?k=10001", None),
        ("GET", "/v1/users/u/recommendations?k=1.5", None),
        ("GET", "/v1/users/u/recommendations?limit=3", None),
        ("GET", "/v1/users/a%00b/recommendations", None),
        ("GET", "/v1/users/a%0Ab", None),
        ("GET", "/v1/users/%FF", None),
        ("GET", f"/v1/users/{'x' * 257}", None),
        ("GET", "/v1/users/u?verbose=1", None),
        ("GET", "/v1/users/u/audit?verbose=1", None),
        ("POST", "/v1/users/u/audit", {}),
        ("POST", "/v1/users/u/audit", {"answer": {"model_version": "v1", "items": []}}),
        ("POST", "/v1/users/u/audit", {"answer": {"model_version": "v1", "sequence": -1, "items": []}}),
        ("POST", "/v1/users/u/audit", {"answer": GIVEN | {"catalogue_revision": "?"}}),
        ("POST", "/v1/users/u/audit", {"answer": GIVEN | {"sequence": "0"}}),
        ("POST", "/v1/users/u/audit", {"answer": GIVEN | {"evaluated_at": True}}),
        ("POST", "/v1/users/u/audit", {"answer": GIVEN | {"items": [{"item_id": "1", "score": "0"}]}}),
        ("POST", "/v1/users/u/audit", {"answer": GIVEN, "more": 1}),
        ("POST", "/v1/users/u/audit", {"answer": GIVEN, "question": {"filter": "item_id = '1'"}}),
        ("POST", "/v1/users/u/audit", {"answer": GIVEN, "question": {"prise": 1}}),
        ("POST", "/v1/users/u/audit", {"answer": GIVEN | {"items": [{"item_id": "1", "score": 0.0}] * 251}}),
        ("GET", "/v1/users/u/events?limit=0", None),
        ("GET", "/v1/users/u/events?limit=1001", None),
        ("GET", "/v1/users/u/events?before=0", None),
        ("GET", "/v1/users/u/events?before=99999999999999999999", None),
        ("DELETE", "/v1/users/%7F", None),
        ("DELETE", "/v1/users/u/events/%C2%85", None),
        ("GET", "/v1/items/a%0Db/similar", None),
        ("GET", "/v1/items/1/similar?k=0", None),
        ("POST", "/v1/recommendations", {"history": ["1"] * 1001}),
        ("POST", "/v1/recommendations", {"history": [1]}),
        ("POST", "/v1/recommendations", {"history": [""]}),
        ("POST", "/v1/recommendations", {"history": [], "k": 0}),
        ("POST", "/v1/recommendations", {"history": [], "k": "10"}),
        ("POST", "/v1/recommendations", {"history": [], "k": 10001}),
        ("POST", "/v1/recommendations", {"history": [], "exclude_seen": 1}),
        ("POST", "/v1/recommendations", {"history": [], "user_id": "u"}),
        ("POST", "/v1/users/u/rank", {"candidates": []}),
        ("POST", "/v1/users/u/rank", {"candidates": ["1"] * 1001}),
        ("POST", "/v1/users/u/rank", {"candidates": ["a\0"]}),
        ("POST", "/v1/users/u/merge", {}),
        ("POST", "/v1/users/u/merge", {"from_user_id": "u"}),
        ("POST", "/v1/users/u%2F1/merge", {"from_user_id": "u/1"}),
        *(("POST", "/v1/users/u/merge", {"from_user_id": bad}) for bad in BAD_IDS),
        ("POST", "/v1/users/u/merge", {"from_user_id": "v", "more": 1}),
        ("POST", "/v1/users/u/merge?k=1", {"from_user_id": "v"}),
        ("POST", "/v1/users/a%00b/merge", {"from_user_id": "v"}),
        ("GET", "/v1/model?x=1", None),
    ],
)
def test_invalid_request_is_422_with_details(harness: AppHarness, method: str, path: str, body: Any) -> None:
    error = harness.refused(422, harness.call(method, path, json=body))
    assert error["details"]
    assert_nothing_changed(harness)


MODELS = [each for each in vars(requests).values() if isinstance(each, type) and issubclass(each, BaseModel)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_default_is_copied_at_each_request(model: type[BaseModel]) -> None:
    """Pydantic copies a default that has no hash deeply, which takes microseconds."""
    for field in model.model_fields.values():
        hash(field.default)
