"""Each endpoint does what the contract says, over a real log."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.app_harness import AppHarness


def send(harness: AppHarness, item_id: str, user_id: str = "u", query: str = "", **more: Any) -> dict[str, Any]:
    response = harness.post(f"/v1/events{query}", json={"user_id": user_id, "item_id": item_id, **more})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def test_an_event_alone_and_with_recommendations(harness: AppHarness) -> None:
    assert send(harness, "10") == {"user_id": "u", "sequence": 1, "duplicate": False, "known_item": True}
    body = send(harness, "unheard of", query="?k=2&exclude_seen=false")
    assert (body["sequence"], body["known_item"]) == (2, False)
    assert body["recommendations"] == {
        "user_id": "u",
        "model_version": "v1",
        "sequence": 2,
        "source": "state",
        "items": [
            {"item_id": "10", "score": 0.0, "title": "Title 10", "categories": ["even"]},
            {"item_id": "11", "score": -1.0},
        ],
    }


def test_a_retry_answers_as_the_first_time_and_another_payload_conflicts(harness: AppHarness) -> None:
    assert send(harness, "10", event_id="e", timestamp=5)["duplicate"] is False
    again = send(harness, "10", event_id="e", timestamp="1970-01-01T00:00:05")
    assert (again["sequence"], again["duplicate"]) == (1, True)
    response = harness.post("/v1/events?k=3", json={"user_id": "u", "item_id": "11", "event_id": "e"})
    assert harness.refused(409, response)["code"] == "event_conflict"
    assert harness.get("/v1/users/u").json()["events"] == 1


def test_a_batch_applies_the_good_and_says_what_is_wrong_with_the_bad(harness: AppHarness) -> None:
    events: list[Any] = [
        {"user_id": "u", "item_id": "1"},
        {"user_id": "u", "item_id": 2},
        "no event",
        {"user_id": "w", "item_id": "3", "event_id": "e"},
        {"user_id": "w", "item_id": "4", "event_id": "e"},
        {"user_id": "u", "item_id": "5", "surprise": 1},
        {"user_id": "u", "item_id": "6"},
    ]
    response = harness.post("/v1/events/batch", json={"events": events})
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result.get("sequence") for result in results] == [1, None, None, 1, None, None, 2]
    codes = [result["error"]["code"] for result in results if "error" in result]
    assert codes == ["invalid_request", "invalid_request", "event_conflict", "invalid_request"]
    assert results[1]["error"]["details"] == [{"field": "item_id", "problem": "must be a string"}]
    assert results[5]["error"]["details"][0]["field"] == "surprise"
    assert [event["item_id"] for event in harness.get("/v1/users/u/events").json()["events"]] == ["1", "6"]


def test_recommendations_for_known_and_unknown_users(harness: AppHarness) -> None:
    cold = harness.get("/v1/users/nobody/recommendations").json()
    assert (cold["source"], cold["sequence"], len(cold["items"])) == ("cold_start", 0, 10)
    send(harness, "10")
    warm = harness.get("/v1/users/u/recommendations?k=3&exclude_seen=false").json()
    assert (warm["source"], warm["items"][0]["item_id"]) == ("state", "10")
    assert "10" not in [item["item_id"] for item in harness.get("/v1/users/u/recommendations?k=50").json()["items"]]


def test_recommendations_have_the_order_of_the_contract(harness: AppHarness) -> None:
    order = ["user_id", "model_version", "sequence", "source", "items"]
    assert list(harness.get("/v1/users/u/recommendations").json()) == order
    assert list(harness.post("/v1/users/u/rank", json={"candidates": ["1"]}).json()) == order
    assert list(send(harness, "10", query="?k=1")["recommendations"]) == order


def test_recommendations_for_a_history_touch_nothing(harness: AppHarness) -> None:
    body = harness.post("/v1/recommendations", json={"history": ["4", "20"], "k": 2, "exclude_seen": False}).json()
    assert set(body) == {"model_version", "source", "items"}
    assert body["items"][0]["item_id"] == "20"
    assert harness.post("/v1/recommendations", json={"history": []}).json()["source"] == "cold_start"


def test_rank_returns_every_candidate_unknown_ones_last(harness: AppHarness) -> None:
    send(harness, "10")
    body = harness.post("/v1/users/u/rank", json={"candidates": ["x", "30", "11"]}).json()
    assert [(item["item_id"], item["score"]) for item in body["items"]] == [("11", -1.0), ("30", -20.0), ("x", None)]


def test_similar(harness: AppHarness) -> None:
    body = harness.get("/v1/items/10/similar?k=2").json()
    assert (body["item_id"], [item["item_id"] for item in body["items"]]) == ("10", ["11", "9"])
    assert harness.refused(404, harness.get("/v1/items/x/similar"))["code"] == "item_not_found"


def test_a_user_and_pages_of_events(harness: AppHarness) -> None:
    assert harness.refused(404, harness.get("/v1/users/u"))["code"] == "user_not_found"
    assert harness.refused(404, harness.get("/v1/users/u/events"))["code"] == "user_not_found"
    for number in range(1, 6):
        send(harness, str(number), timestamp=number)
    last = {"sequence": 5, "item_id": "5", "timestamp": 5.0, "event_id": "seq-5"}
    assert harness.get("/v1/users/u").json() == {
        "user_id": "u",
        "sequence": 5,
        "events": 5,
        "trimmed": 0,
        "last_event": last,
        "model_version": "v1",
    }
    pages, before = [], ""
    while True:
        page = harness.get(f"/v1/users/u/events?limit=2{before}").json()
        pages.append([event["sequence"] for event in page["events"]])
        if page["next_before"] is None:
            break
        before = f"&before={page['next_before']}"
    assert pages == [[4, 5], [2, 3], [1]]
    assert harness.get("/v1/users/u/events?limit=5").json()["next_before"] is None


def test_audit(harness: AppHarness) -> None:
    assert harness.refused(404, harness.get("/v1/users/u/audit"))["code"] == "user_not_found"
    send(harness, "10", query="?k=1")
    harness.get("/healthz")  # lets the background write through
    body = harness.get("/v1/users/u/audit").json()
    assert body["max_relative_error"] == 0
    assert body["kept_events"] == 1


def test_deleting_an_event_is_as_if_it_had_never_been(harness: AppHarness) -> None:
    send(harness, "10")
    send(harness, "20", event_id="e/1")
    deleted = harness.delete("/v1/users/u/events/e%2F1")
    assert deleted.json() == {"user_id": "u", "event_id": "e/1", "deleted": True}
    best = harness.get("/v1/users/u/recommendations?k=1&exclude_seen=false").json()["items"][0]
    assert best["item_id"] == "10"
    assert harness.refused(404, harness.delete("/v1/users/u/events/e%2F1"))["code"] == "event_not_found"
    assert harness.delete("/v1/users/u/events/seq-1").status_code == 200


def test_merging_a_visitor_into_an_account(harness: AppHarness) -> None:
    send(harness, "10", timestamp=1)
    send(harness, "30", timestamp=3, event_id="e")
    send(harness, "20", timestamp=2, user_id="visitor")
    send(harness, "30", timestamp=3, event_id="e", user_id="visitor")
    send(harness, "40", timestamp=4, user_id="visitor")
    merged = harness.post("/v1/users/u/merge", json={"from_user_id": "visitor"})
    expected = {
        "user_id": "u",
        "from_user_id": "visitor",
        "moved_events": 2,
        "duplicate_events": 1,
        "conflicting_events": 0,
        "sequence": 5,
        "repeated": False,
    }
    assert merged.json() == expected
    events = harness.get("/v1/users/u/events").json()["events"]
    assert [(e["sequence"], e["item_id"]) for e in events] == [(1, "10"), (3, "20"), (4, "30"), (5, "40")]
    best = harness.get("/v1/users/u/recommendations?k=1&exclude_seen=false").json()
    assert (best["sequence"], best["items"][0]["item_id"]) == (5, "40")
    assert harness.refused(404, harness.get("/v1/users/visitor"))["code"] == "user_not_found"
    assert harness.get("/v1/users/u/audit").json()["max_relative_error"] == 0
    again = harness.post("/v1/users/u/merge", json={"from_user_id": "visitor"})
    assert again.json() == {**expected, "repeated": True}
    nobody = harness.post("/v1/users/u/merge", json={"from_user_id": "nobody"})
    assert harness.refused(404, nobody)["code"] == "user_not_found"
    assert harness.refused(404, harness.post("/v1/users/new/merge", json={"from_user_id": "nobody"}))
    harness.refused(404, harness.get("/v1/users/new"))
    assert harness.post("/v1/users/a%2Fnew/merge", json={"from_user_id": "u"}).json()["moved_events"] == 4


def test_deleting_a_user_can_be_repeated(harness: AppHarness) -> None:
    send(harness, "10")
    send(harness, "11")
    assert harness.delete("/v1/users/u").json() == {"user_id": "u", "deleted_events": 2}
    assert harness.delete("/v1/users/u").json() == {"user_id": "u", "deleted_events": 0}
    harness.refused(404, harness.get("/v1/users/u"))


@pytest.mark.parametrize("user_id", ["a/b", "a%2Fb", "ü ?#&", "日本" * 128, "+", "%"])
def test_any_id_works_in_a_path(harness: AppHarness, user_id: str) -> None:
    send(harness, "10", user_id=user_id)
    assert harness.get(f"/v1/users/{quote(user_id, safe='')}/recommendations").json()["user_id"] == user_id
    assert harness.delete(f"/v1/users/{quote(user_id, safe='')}").json()["deleted_events"] == 1


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (978300760, 978300760.0),
        (0, 0.0),
        (1.5, 1.5),
        ("2001-01-01T00:00:00", datetime(2001, 1, 1, tzinfo=UTC).timestamp()),
        ("2001-01-01T02:00:00+02:00", datetime(2001, 1, 1, tzinfo=UTC).timestamp()),
        ("2001-01-01T00:00:00Z", datetime(2001, 1, 1, tzinfo=UTC).timestamp()),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()),
    ],
)
def test_timestamps_in_both_forms(harness: AppHarness, sent: Any, seconds: float) -> None:
    send(harness, "1", timestamp=sent)
    assert harness.get("/v1/users/u").json()["last_event"]["timestamp"] == seconds


def test_the_model_is_described(harness: AppHarness) -> None:
    body = harness.get("/v1/model").json()
    assert (body["version"], body["config"]) == ("v1", {"dimension": 64})


def test_answers_are_json_numbers(harness: AppHarness) -> None:
    text = harness.get("/v1/users/u/recommendations?k=1").text
    assert isinstance(json.loads(text)["items"][0]["score"], float)
