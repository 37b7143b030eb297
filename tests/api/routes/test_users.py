"""Routes about a user's event log."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.api.app_harness import AppHarness, send_event


def test_user_summary_and_pages_list_every_event_once(harness: AppHarness) -> None:
    assert harness.refused(404, harness.get("/v1/users/u"))["code"] == "user_not_found"
    assert harness.refused(404, harness.get("/v1/users/u/events"))["code"] == "user_not_found"
    for number in range(1, 6):
        send_event(harness, str(number), timestamp=number)
    plain = {"type": "view", "value": None, "recommendation_id": None}
    last = {"sequence": 5, "item_id": "5", "timestamp": 5.0, "event_id": "seq-5", **plain}
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


def test_audit_finds_no_difference(harness: AppHarness) -> None:
    assert harness.refused(404, harness.get("/v1/users/u/audit"))["code"] == "user_not_found"
    send_event(harness, "10", query="?k=1")
    harness.get("/healthz")  # runs the event loop, so that the snapshot is written
    body = harness.get("/v1/users/u/audit").json()
    assert body["max_relative_error"] == 0
    assert body["kept_events"] == 1


def test_deleted_event_no_longer_affects_recommendations(harness: AppHarness) -> None:
    send_event(harness, "10")
    send_event(harness, "20", event_id="e/1")
    deleted = harness.delete("/v1/users/u/events/e%2F1")
    assert deleted.json() == {"user_id": "u", "event_id": "e/1", "deleted": True}
    best = harness.get("/v1/users/u/recommendations?k=1&exclude_seen=false").json()["items"][0]
    assert best["item_id"] == "10"
    assert harness.refused(404, harness.delete("/v1/users/u/events/e%2F1"))["code"] == "event_not_found"
    assert harness.delete("/v1/users/u/events/seq-1").status_code == 200


def test_merge_moves_events_in_order_of_time_and_can_be_repeated(harness: AppHarness) -> None:
    send_event(harness, "10", timestamp=1)
    send_event(harness, "30", timestamp=3, event_id="e")
    send_event(harness, "20", timestamp=2, user_id="visitor")
    send_event(harness, "30", timestamp=3, event_id="e", user_id="visitor")
    send_event(harness, "40", timestamp=4, user_id="visitor")
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


def test_deleting_user_can_be_repeated(harness: AppHarness) -> None:
    send_event(harness, "10")
    send_event(harness, "11")
    assert harness.delete("/v1/users/u").json() == {"user_id": "u", "deleted_events": 2}
    assert harness.delete("/v1/users/u").json() == {"user_id": "u", "deleted_events": 0}
    harness.refused(404, harness.get("/v1/users/u"))


@pytest.mark.parametrize("user_id", ["a/b", "a%2Fb", "ü ?#&", "日本" * 128, "+", "%"])
def test_percent_encoded_id_in_path_is_decoded(harness: AppHarness, user_id: str) -> None:
    send_event(harness, "10", user_id=user_id)
    assert harness.get(f"/v1/users/{quote(user_id, safe='')}/recommendations").json()["user_id"] == user_id
    assert harness.delete(f"/v1/users/{quote(user_id, safe='')}").json()["deleted_events"] == 1
