"""Types and values of events over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.app_harness import AppHarness, send_event
from tests.api.question_harness import Ask, ask, ids, ok, read, record, record_with_body

OF_USER: list[Ask] = [read, ask, record, record_with_body]
of_user = pytest.mark.parametrize("question", OF_USER)
FULL = {"type": "purchase", "value": 49.9, "recommendation_id": "i" + "x" * 511}


@pytest.fixture(params=[True, False], ids=["fast path", "routes"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AppHarness]:
    harness = AppHarness(tmp_path, fast_path=request.param).start()
    yield harness
    harness.close()


def log(app: AppHarness, user: str = "u") -> list[dict[str, Any]]:
    return [
        {name: event[name] for name in ("item_id", "type", "value", "recommendation_id")}
        for event in ok(app.get(f"/v1/users/{user}/events"))["events"]
    ]


def test_event_is_listed_as_it_was_sent_and_a_plain_one_is_a_view(app: AppHarness) -> None:
    send_event(app, "1", **FULL)
    send_event(app, "2")
    send_event(app, "3", type="view", value=0)
    send_event(app, "4", type=None, value=None, recommendation_id=None)
    assert log(app) == [
        {"item_id": "1", **FULL},
        {"item_id": "2", "type": "view", "value": None, "recommendation_id": None},
        {"item_id": "3", "type": "view", "value": 0.0, "recommendation_id": None},
        {"item_id": "4", "type": "view", "value": None, "recommendation_id": None},
    ]
    assert ok(app.get("/v1/users/u"))["last_event"]["type"] == "view"


def test_events_of_a_batch_have_types(app: AppHarness) -> None:
    events = [{"user_id": "u", "item_id": "1", **FULL}, {"user_id": "u", "item_id": "2", "type": "No"}]
    first, second = ok(app.post("/v1/events/batch", json={"events": events}))["results"]
    assert first["sequence"] == 1
    assert second["error"]["details"][0]["field"] == "type"
    assert log(app) == [{"item_id": "1", **FULL}]


def test_retry_is_a_duplicate_and_view_by_name_equals_none(app: AppHarness) -> None:
    send_event(app, "1", event_id="e", timestamp=5)
    assert send_event(app, "1", event_id="e", timestamp=5, type="view")["duplicate"]
    send_event(app, "1", event_id="f", type="cart", value=2)
    assert send_event(app, "1", event_id="f", type="cart", value=2.0)["duplicate"]
    for other in ({}, {"type": "cart"}, {"type": "cart", "value": 3}, {"type": "wish", "value": 2}):
        body = {"user_id": "u", "item_id": "1", "event_id": "f", **other}
        assert app.refused(409, app.post("/v1/events", json=body))["code"] == "event_conflict"


_NO_TYPE = "must be a name such as purchase: a letter from a to z, then at most 31 of a to z, 0 to 9 and _"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        (
            "type",
            "Purchase",
            _NO_TYPE,
        ),
        (
            "type",
            "",
            _NO_TYPE,
        ),
        (
            "type",
            "a" * 33,
            _NO_TYPE,
        ),
        (
            "type",
            "cart\n",
            _NO_TYPE,
        ),
        ("type", 5, "must be a string"),
        ("value", "5", "must be a number"),
        ("value", True, "must be a number"),
        ("value", 1.1e12, "must be a finite number from -1e12 to 1e12"),
        ("value", 10**400, "must be a finite number from -1e12 to 1e12"),
        ("recommendation_id", "", "must have at least 1 character"),
        ("recommendation_id", "x" * 513, "must have at most 512 characters"),
        ("recommendation_id", "a\0b", "must not contain control characters, such as line breaks or tabs"),
    ],
)
def test_invalid_field_is_a_422_with_a_sentence(app: AppHarness, field: str, value: object, sentence: str) -> None:
    body = {"user_id": "u", "item_id": "1", field: value}
    refused = app.refused(422, app.post("/v1/events", json=body))
    assert refused["details"] == [{"field": field, "problem": sentence}]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e13"])
def test_value_that_is_not_finite_or_too_large_is_refused(app: AppHarness, number: str) -> None:
    content = f'{{"user_id": "u", "item_id": "1", "value": {number}}}'
    response = app.post("/v1/events", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert app.get("/v1/users/u/events").status_code == 404


@of_user
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_disliked_item_is_in_no_answer_until_a_newer_positive_event(
    app: AppHarness, question: Ask, exclude_seen: bool
) -> None:
    asked = {"k": 50, "exclude_seen": exclude_seen}
    for item in ("24", "25"):
        send_event(app, item)
    for item in ("24", "26"):
        send_event(app, item, type="dislike")
    send_event(app, "26", type="impression")
    assert not {"24", "26"} & set(ids(question(app, asked)))
    send_event(app, "30", query="?k=1")  # a snapshot is written and continued
    assert not {"24", "26"} & set(ids(question(app, asked)))
    send_event(app, "24", type="like")
    found = set(ids(question(app, {"k": 50, "exclude_seen": False})))
    assert "24" in found and "26" not in found


def test_undone_dislike_excludes_nothing_and_undone_like_excludes_again(app: AppHarness) -> None:
    send_event(app, "25", query="?k=1")
    send_event(app, "24", type="dislike", event_id="no", query="?k=1")
    send_event(app, "24", type="like", event_id="yes", query="?k=1")
    every = {"k": 50, "exclude_seen": False}
    assert "24" in ids(read(app, every))
    assert app.delete("/v1/users/u/events/yes").status_code == 200
    assert "24" not in ids(read(app, every))
    assert app.delete("/v1/users/u/events/no").status_code == 200
    assert "24" in ids(read(app, every))


def test_dislike_of_a_merged_user_excludes(app: AppHarness) -> None:
    send_event(app, "25", query="?k=1", timestamp=5)
    app.post("/v1/events", json={"user_id": "visitor", "item_id": "24", "type": "dislike", "timestamp": 9})
    ok(app.post("/v1/users/u/merge", json={"from_user_id": "visitor"}))
    assert "24" not in ids(read(app, {"k": 50, "exclude_seen": False}))
    assert [event["type"] for event in log(app)] == ["view", "dislike"]


@pytest.mark.parametrize(
    ("own", "moved", "shown"),
    [
        (("like", 50), ("dislike", 9), True),
        (("dislike", 5), ("like", 9), True),
        (("like", 5), ("dislike", 9), False),
        (("like", 5), ("dislike", 5), False),  # at equal times the account's events come first
    ],
)
def test_after_a_merge_the_newer_of_dislike_and_like_decides(
    app: AppHarness, own: tuple[str, int], moved: tuple[str, int], shown: bool
) -> None:
    for user, (event_type, timestamp) in (("u", own), ("visitor", moved)):
        send_event(app, "24", user, type=event_type, timestamp=timestamp, query="?k=1")
    ok(app.post("/v1/users/u/merge", json={"from_user_id": "visitor"}))
    assert ("24" in ids(read(app, {"k": 50, "exclude_seen": False}))) == shown


def test_order_within_a_batch_decides_and_a_repeated_old_dislike_does_not(app: AppHarness) -> None:
    sent = [("24", "dislike"), ("24", "like"), ("25", "like"), ("25", "dislike")]
    events = [
        {"user_id": "u", "item_id": item, "type": event_type, "event_id": f"{event_type}-{item}", "timestamp": 1}
        for item, event_type in sent
    ]
    for again in (events, events[:1]):
        ok(app.post("/v1/events/batch", json={"events": again}))
        found = ids(read(app, {"k": 50, "exclude_seen": False}))
        assert "24" in found and "25" not in found


def test_cold_start_lacks_disliked_items_and_says_when_none_is_left(app: AppHarness) -> None:
    every = ids(read(app, {"k": 50, "exclude_seen": False}))
    for item in every[:-1]:
        send_event(app, item, type="dislike")
    answer = read(app, {"k": 50, "exclude_seen": False})
    assert (answer["source"], ids(answer), answer["eligible"]) == ("cold_start", every[-1:], 1)
    send_event(app, every[-1], type="dislike")
    answer = read(app, {"k": 50})
    assert (ids(answer), answer["short"], answer["eligible"]) == ([], True, 0)


def test_ranking_keeps_a_disliked_item_as_not_eligible(app: AppHarness) -> None:
    send_event(app, "24", type="dislike")
    send_event(app, "23", type="purchase")
    body = {"candidates": ["23", "24", "25"], "exclude_events": ["purchase"]}
    ranked = ok(app.post("/v1/users/u/rank", json=body))["items"]
    assert {item["item_id"]: item["eligible"] for item in ranked} == {"23": False, "24": False, "25": True}


def test_audit_confirms_answers_with_types_and_refutes_disliked_items(app: AppHarness) -> None:
    send_event(app, "25", query="?k=1")
    send_event(app, "24", type="dislike", query="?k=1")
    send_event(app, "26", type="purchase", query="?k=1")
    send_event(app, "23", type="impression", query="?k=1")
    question = {"k": 5, "exclude_seen": False, "exclude_events": ["purchase:1d"]}
    answer = ask(app, question)
    assert not {"24", "26"} & set(ids(answer))

    def audit(given: dict[str, Any]) -> dict[str, Any]:
        return ok(app.post("/v1/users/u/audit", json={"question": question, "answer": given}))

    assert audit(answer)["outcome"] == "confirmed"
    wrong = [{"item_id": item, "score": 0.0} for item in ("24", "26")]
    assert set(audit(answer | {"items": wrong})["forbidden_items"]) == {"24", "26"}
    unnamed = {name: value for name, value in answer.items() if name != "evaluated_at"}
    assert app.post("/v1/users/u/audit", json={"question": question, "answer": unnamed}).status_code == 422
    app.get("/healthz")
    snapshot = ok(app.get("/v1/users/u/audit"))
    assert (snapshot["snapshot"], snapshot["max_relative_error"]) == ("found", 0.0)
