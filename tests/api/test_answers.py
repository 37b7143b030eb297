"""Response bodies, in the shapes of the response schemas."""

from __future__ import annotations

import json
import math
from typing import Any

from service.api.answers import (
    anonymous_out,
    answer_event,
    answer_recommendations,
    encoded,
    recommendations_out,
    recorded_out,
)
from service.api.caller import Caller
from service.api.schemas.item_fields import PLAIN
from service.api.schemas.requests import QuestionEventIn, RecordQuery, TopKQuery
from service.api.schemas.responses import ItemsOut, RecommendationsOut, RecordedOut
from service.core.engine_requests import ScoredItem
from service.core.recommending.results import Answer, Recorded
from tests.api.app_harness import AppHarness

EVENT = QuestionEventIn(user_id="u", item_id="10")
ANSWER = Answer("v1", 7, True, (ScoredItem("a", 1.5), ScoredItem("b", None)))


def test_event_without_k_has_no_recommendations(harness: AppHarness) -> None:
    body: dict[str, Any] = json.loads(harness.run(answer_event(harness.recommender, EVENT, RecordQuery(), Caller())))
    assert body == {"user_id": "u", "sequence": 1, "duplicate": False, "known_item": True}


def test_event_with_k_has_recommendations_that_a_read_repeats(harness: AppHarness) -> None:
    query = RecordQuery(k=2, exclude_seen=False)
    body = json.loads(harness.run(answer_event(harness.recommender, EVENT, query, Caller())))
    assert [item["item_id"] for item in body["recommendations"]["items"]] == ["10", "11"]
    top_k = TopKQuery(k=2, exclude_seen=False)
    read = json.loads(harness.run(answer_recommendations(harness.recommender, "u", top_k, Caller())))
    assert read == body["recommendations"]


def test_answer_matches_schemas() -> None:
    body = recommendations_out("u", ANSWER, PLAIN)
    assert RecommendationsOut.model_validate(body).model_dump(exclude_unset=True) == {
        **body,
        "items": [
            {"item_id": "a", "score": 1.5},
            {"item_id": "b", "score": None},
        ],
    }
    assert (body["sequence"], body["source"]) == (7, "cold_start")
    assert ItemsOut.model_validate(anonymous_out(ANSWER, PLAIN)).source == "cold_start"


def test_recorded_event_matches_schema() -> None:
    body = recorded_out("u", Recorded(3, True, False, None))
    assert RecordedOut.model_validate(body).model_dump(exclude_unset=True) == body
    assert body == {"user_id": "u", "sequence": 3, "duplicate": True, "known_item": False}


def test_encoded_is_utf8_json_with_null_for_nan() -> None:
    assert encoded({"item_id": "é", "score": math.nan}) == '{"item_id":"é","score":null}'.encode()
    assert json.loads(encoded({"items": ("a", "b")})) == {"items": ["a", "b"]}
