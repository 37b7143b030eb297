"""Routes that recommend and rank items."""

from __future__ import annotations

import json

from tests.api.app_harness import AppHarness, send_event


def test_unknown_user_gets_cold_start_and_known_user_gets_state(harness: AppHarness) -> None:
    cold = harness.get("/v1/users/nobody/recommendations").json()
    assert (cold["source"], cold["sequence"], len(cold["items"])) == ("cold_start", 0, 10)
    send_event(harness, "10")
    warm = harness.get("/v1/users/u/recommendations?k=3&exclude_seen=false").json()
    assert (warm["source"], warm["items"][0]["item_id"]) == ("state", "10")
    assert "10" not in [item["item_id"] for item in harness.get("/v1/users/u/recommendations?k=50").json()["items"]]


def test_response_fields_have_documented_order(harness: AppHarness) -> None:
    order = ["user_id", "model_version", "sequence", "source", "items"]
    assert list(harness.get("/v1/users/u/recommendations").json()) == order
    assert list(harness.post("/v1/users/u/rank", json={"candidates": ["1"]}).json()) == order
    assert list(send_event(harness, "10", query="?k=1")["recommendations"]) == order


def test_history_in_body_is_answered_without_user(harness: AppHarness) -> None:
    body = harness.post("/v1/recommendations", json={"history": ["4", "20"], "k": 2, "exclude_seen": False}).json()
    assert set(body) == {"model_version", "source", "items"}
    assert body["items"][0]["item_id"] == "20"
    assert harness.post("/v1/recommendations", json={"history": []}).json()["source"] == "cold_start"


def test_rank_returns_every_candidate_with_unknown_ones_last(harness: AppHarness) -> None:
    send_event(harness, "10")
    body = harness.post("/v1/users/u/rank", json={"candidates": ["x", "30", "11"]}).json()
    assert [(item["item_id"], item["score"]) for item in body["items"]] == [("11", -1.0), ("30", -20.0), ("x", None)]


def test_scores_are_json_numbers(harness: AppHarness) -> None:
    text = harness.get("/v1/users/u/recommendations?k=1").text
    assert isinstance(json.loads(text)["items"][0]["score"], float)
