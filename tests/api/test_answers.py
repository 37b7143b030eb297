"""Response bodies that the routes and the fast path share."""

from __future__ import annotations

import json
from typing import Any

from service.api.answers import answer_event, answer_recommendations
from service.api.schemas.requests import EventIn, RecordQuery, TopKQuery
from tests.api.app_harness import AppHarness

EVENT = EventIn(user_id="u", item_id="10")


def test_event_without_k_has_no_recommendations(harness: AppHarness) -> None:
    body: dict[str, Any] = json.loads(harness.run(answer_event(harness.recommender, EVENT, RecordQuery())))
    assert body == {"user_id": "u", "sequence": 1, "duplicate": False, "known_item": True}


def test_event_with_k_has_recommendations_that_a_read_repeats(harness: AppHarness) -> None:
    query = RecordQuery(k=2, exclude_seen=False)
    body = json.loads(harness.run(answer_event(harness.recommender, EVENT, query)))
    assert [item["item_id"] for item in body["recommendations"]["items"]] == ["10", "11"]
    top_k = TopKQuery(k=2, exclude_seen=False)
    read = json.loads(harness.run(answer_recommendations(harness.recommender, "u", top_k)))
    assert read == body["recommendations"]
