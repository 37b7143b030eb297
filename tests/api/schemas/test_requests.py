"""Whatever does not follow the contract is refused in the one shape, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.api.app_harness import AppHarness
from tests.api.conftest import KEY

GOOD = {"user_id": "u", "item_id": "1"}
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
    """One for all that is refused: it leaves nothing behind."""
    harness = AppHarness(tmp_path_factory.mktemp("log")).start()
    yield harness
    harness.close()


def nothing_changed(harness: AppHarness) -> None:
    assert harness.get("/v1/users/u").status_code == 404


@pytest.mark.parametrize("event", BAD_EVENTS, ids=lambda event: repr(event)[:60])
def test_a_bad_event(harness: AppHarness, event: Any) -> None:
    error = harness.refused(422, harness.post("/v1/events?k=1", content=json.dumps(event), headers=JSON))
    assert error["code"] == "invalid_request"
    assert error["details"]
    batch = harness.post("/v1/events/batch", content=json.dumps({"events": [event]}), headers=JSON)
    assert batch.json()["results"][0]["error"]["code"] == "invalid_request"
    nothing_changed(harness)


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: repr(body[:50]))
@pytest.mark.parametrize(
    "path", ["/v1/events", "/v1/events/batch", "/v1/recommendations", "/v1/users/u/rank", "/v1/users/u/merge"]
)
def test_a_bad_body(harness: AppHarness, path: str, body: bytes) -> None:
    response = harness.post(path, content=body, headers=JSON)
    assert response.status_code in (400, 422)
    harness.refused(response.status_code, response)
    nothing_changed(harness)


def test_another_content_type(harness: AppHarness) -> None:
    response = harness.post("/v1/events", content=json.dumps(GOOD), headers={"content-type": "text/plain"})
    assert "Content-Type: application/json" in harness.refused(422, response)["details"][0]["problem"]
    nothing_changed(harness)


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
def test_a_bad_request(harness: AppHarness, method: str, path: str, body: Any) -> None:
    error = harness.refused(422, harness.call(method, path, json=body))
    assert error["details"]
    nothing_changed(harness)


def test_details_name_the_place_and_never_the_input(harness: AppHarness) -> None:
    secret = "do-not-repeat-" * 30
    response = harness.post("/v1/recommendations", json={"history": ["1", "2", secret], secret: secret})
    error = harness.refused(422, response)
    assert {"field": "history.2", "problem": "must have at most 256 characters"} in error["details"]
    assert secret not in response.text


FINITE = "must be a finite number"
RANGE = "must be between 1970-01-01 and 9999-12-31"
MILLISECONDS = "looks like milliseconds; send Unix seconds"
CONTROL = "must not contain control characters, such as line breaks or tabs"


@pytest.mark.parametrize(
    ("field", "sent", "problem"),
    [
        ("timestamp", "NaN", FINITE),
        ("timestamp", "-Infinity", FINITE),
        ("timestamp", "1e999", FINITE),
        ("timestamp", "1700000000000", MILLISECONDS),
        ("timestamp", "1700000000000000", RANGE),
        ("timestamp", "-1", RANGE),
        ("timestamp", "9" * 400, RANGE),
        ("timestamp", '"0001-01-01T00:00:00+20:00"', RANGE),
        ("timestamp", '"nan"', "must be an ISO 8601 string or Unix seconds as a number"),
        ("item_id", '"a\\tb"', CONTROL),
        ("event_id", '"a\\u0085"', CONTROL),
        ("item_id", '""', "must have at least 1 character"),
    ],
)
def test_the_sentence_says_what_is_wrong(harness: AppHarness, field: str, sent: str, problem: str) -> None:
    event = {name: json.dumps(value) for name, value in GOOD.items()} | {field: sent}
    body = "{" + ", ".join(f'"{name}": {value}' for name, value in event.items()) + "}"
    error = harness.refused(422, harness.post("/v1/events", content=body, headers=JSON))
    assert error["details"] == [{"field": field, "problem": problem}]


def test_sentences_about_lists_and_versions(guarded: AppHarness) -> None:
    headers = {"x-api-key": KEY}
    empty = guarded.refused(422, guarded.post("/v1/events/batch", json={"events": []}, headers=headers))
    assert empty["details"] == [{"field": "events", "problem": "must have at least 1 entry"}]
    version = guarded.refused(422, guarded.post("/v1/admin/reload", json={"version": "../x"}, headers=headers))
    assert version["details"][0]["problem"].startswith("must begin with a letter or digit")


def test_details_are_few(harness: AppHarness) -> None:
    response = harness.post("/v1/recommendations", json={"history": [1] * 1000})
    assert len(harness.refused(422, response)["details"]) == 20


def test_a_large_body_is_refused_by_its_declared_length(harness: AppHarness) -> None:
    response = harness.post("/v1/events", content=b" " * 10_000_000, headers=JSON)
    assert harness.refused(413, response)["code"] == "payload_too_large"


def test_a_large_body_is_refused_while_it_arrives(harness: AppHarness) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100_000_000:
            sent += 1_000_000
            yield b" " * 1_000_000

    response = harness.post("/v1/events", content=endless(), headers=JSON)
    assert harness.refused(413, response)["code"] == "payload_too_large"
    assert sent <= 6_000_000


def test_a_body_within_the_limit_is_read(harness: AppHarness) -> None:
    padded = json.dumps({**GOOD, "user_id": "another"}).encode() + b" " * 4_000_000
    assert harness.post("/v1/events", content=padded, headers=JSON).status_code == 200


def test_unknown_paths_and_methods(harness: AppHarness) -> None:
    assert harness.refused(404, harness.get("/v1/nothing"))["code"] == "not_found"
    assert harness.refused(404, harness.get("/v1/users/u/"))["code"] == "not_found"
    response = harness.call("PUT", "/v1/events")
    assert harness.refused(405, response)["code"] == "method_not_allowed"
    assert response.headers["allow"]
