"""Results as JSON, in the shapes of the response schemas."""

from __future__ import annotations

import json
import math

from service.api.schemas.responses import ItemsOut, RecommendationsOut, RecordedOut
from service.api.serializers import anonymous_out, encoded, recommendations_out, recorded_out
from service.core.engine_requests import ScoredItem
from service.core.recommending.results import Answer, Recorded

ANSWER = Answer("v1", 7, True, (ScoredItem("a", 1.5, "Title", ("x",)), ScoredItem("b", None, None, ())))


def test_answer_matches_schemas() -> None:
    body = recommendations_out("u", ANSWER)
    assert RecommendationsOut.model_validate(body).model_dump(exclude_unset=True) == {
        **body,
        "items": [
            {"item_id": "a", "score": 1.5, "title": "Title", "categories": ["x"]},
            {"item_id": "b", "score": None},
        ],
    }
    assert (body["sequence"], body["source"]) == (7, "cold_start")
    assert ItemsOut.model_validate(anonymous_out(ANSWER)).source == "cold_start"


def test_recorded_event_matches_schema() -> None:
    body = recorded_out("u", Recorded(3, True, False, None))
    assert RecordedOut.model_validate(body).model_dump(exclude_unset=True) == body
    assert body == {"user_id": "u", "sequence": 3, "duplicate": True, "known_item": False}


def test_encoded_is_utf8_json_with_null_for_nan() -> None:
    assert encoded({"item_id": "é", "score": math.nan}) == '{"item_id":"é","score":null}'.encode()
    assert json.loads(encoded({"items": ("a", "b")})) == {"items": ["a", "b"]}
