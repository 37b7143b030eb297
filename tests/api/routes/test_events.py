"""Routes that record events."""

from __future__ import annotations

from typing import Any

from tests.api.app_harness import AppHarness, send_event


def test_event_with_k_returns_recommendations_that_reflect_it(harness: AppHarness) -> None:
    assert send_event(harness, "10") == {"user_id": "u", "sequence": 1, "duplicate": False, "known_item": True}
    body = send_event(harness, "unheard of", query="?k=2&exclude_seen=false")
    assert (body["sequence"], body["known_item"]) == (2, False)
    assert body["recommendations"] == {
        "user_id": "u",
        "model_version": "v1",
        "sequence": 2,
        "source": "state",
        "items": [
            {"item_id": "10", "score": 0.0},
            {"item_id": "11", "score": -1.0},
        ],
    }


def test_duplicate_event_id_returns_first_sequence_or_conflicts_on_other_payload(harness: AppHarness) -> None:
    assert send_event(harness, "10", event_id="e", timestamp=5)["duplicate"] is False
    again = send_event(harness, "10", event_id="e", timestamp="1970-01-01T00:00:05")
    assert (again["sequence"], again["duplicate"]) == (1, True)
    response = harness.post("/v1/events?k=3", json={"user_id": "u", "item_id": "11", "event_id": "e"})
    assert harness.refused(409, response)["code"] == "event_conflict"
    assert harness.get("/v1/users/u").json()["events"] == 1


def test_batch_records_valid_events_and_reports_invalid_ones(harness: AppHarness) -> None:
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
