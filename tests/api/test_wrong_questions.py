"""Questions that are refused, and their events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.app_harness import AppHarness
from tests.api.question_harness import (
    Json,
    ids,
    ok,
    query_of,
)

WRONG = [
    ({"filter": "prise < 3"}, "did you mean 'price'"),
    ({"filter": "price <"}, ""),
    ({"filter_name": "chep"}, "no filter 'chep'"),
    ({"filter": "price < 3", "filter_name": "cheap"}, "either"),
    ({"filter": "price < :x"}, ""),
    ({"params": {"x": "1"}}, "need a filter"),
    ({"fields": ["prise"]}, "did you mean 'price'"),
    ({"exclude": [""]}, ""),
]
CALLS: list[Callable[[AppHarness, Json], Any]] = [
    lambda shop, question: shop.get("/v1/users/u/recommendations", params=query_of(question)),
    lambda shop, question: shop.post("/v1/users/u/recommendations", json=question),
    lambda shop, question: shop.post(
        "/v1/events", params={"k": 3} | query_of(question), json={"user_id": "u", "item_id": "1"}
    ),
    lambda shop, question: shop.post("/v1/events?k=3", json={"user_id": "u", "item_id": "1", **question}),
    lambda shop, question: shop.post("/v1/users/u/rank", json={"candidates": ["1"], **question}),
    lambda shop, question: shop.post("/v1/recommendations", json={"history": [], **question}),
    lambda shop, question: shop.get("/v1/items/25/similar", params=query_of(question)),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("question", "problem"), WRONG)
def test_wrong_question_is_refused_and_its_event_is_not_stored(
    shop: AppHarness, call: Callable[[AppHarness, Json], Any], question: Json, problem: str
) -> None:
    response = call(shop, question)
    assert response.status_code == 422, response.text
    assert problem in response.text
    assert shop.get("/v1/users/u/events").status_code == 404


def test_wrong_expression_is_refused_in_an_empty_catalogue(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path).start()
    for call in CALLS:
        assert call(harness, {"filter": "prise < 3"}).status_code == 422
        assert call(harness, {"fields": ["prise"]}).status_code == 422
    harness.close()


def test_event_without_question_takes_no_filter(shop: AppHarness) -> None:
    for query, body in (({"filter": "price < 3"}, {}), ({}, {"exclude": ["3"]}), ({"fields": "price"}, {})):
        response = shop.post("/v1/events", params=query, json={"user_id": "u", "item_id": "1", **body})
        assert response.status_code == 422 and "send k" in response.text
    batch = {"events": [{"user_id": "u", "item_id": "1", "exclude": ["3"]}]}
    assert "error" in ok(shop.post("/v1/events/batch", json=batch))["results"][0]
    assert shop.get("/v1/users/u/events").status_code == 404


def test_query_and_body_of_an_event_join(shop: AppHarness) -> None:
    event = {"user_id": "u", "item_id": "25", "exclude": ["2"], "fields": ["price"]}
    found = ok(shop.post("/v1/events", params={"k": 9, "filter": "price < 4", "exclude": "1"}, json=event))
    assert ids(found["recommendations"]) == ["3"]
    assert found["recommendations"]["items"][0]["attributes"] == {"price": 3}
    both = shop.post("/v1/events", params={"k": 9, "filter": "price < 4"}, json={**event, "filter": "price < 9"})
    assert both.status_code == 422 and "query string and in the body" in both.text
