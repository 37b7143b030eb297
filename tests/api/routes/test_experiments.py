"""Recommendation ids in answers, and what the events with them count."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.core.attribution.recommendation_ids import RecommendationIds
from tests.api.app_harness import AppHarness, send_event
from tests.api.conftest import KEY
from tests.core.fakes import FakeModels

ID_KEY = "id-key-of-the-tests-" * 2
HEADERS = {"x-api-key": KEY}


@pytest.fixture(params=[True, False], ids=["fast path", "routes"])
def attributing(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[AppHarness]:
    harness = AppHarness(tmp_path, keys=(KEY,), id_keys=(ID_KEY,), fast_path=request.param).start()
    harness._client.headers.update(HEADERS)
    yield harness
    harness.close()


def recommend(harness: AppHarness, user: str = "u", k: int = 5) -> tuple[str, list[str]]:
    """Ask for recommendations; return their id and the items."""
    answer = harness.get(f"/v1/users/{user}/recommendations?k={k}").json()
    return answer["recommendation_id"], [item["item_id"] for item in answer["items"]]


def experiments(harness: AppHarness) -> dict[str, Any]:
    response = harness.get("/v1/admin/experiments")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    harness.app.state.services.counters._read = None  # the next call reads anew
    return found


def counts(harness: AppHarness) -> dict[str, float]:
    versions = experiments(harness)["versions"]
    return versions[0]["counts"] if versions else {}


def test_every_answer_has_an_id(attributing: AppHarness) -> None:
    recorded = send_event(attributing, "3", query="?k=3")
    answers = [
        recorded["recommendations"],
        attributing.get("/v1/users/u/recommendations").json(),
        attributing.post("/v1/users/u/recommendations", json={"k": 600}).json(),
        attributing.post("/v1/users/u/rank", json={"candidates": ["1", "2"]}).json(),
        attributing.post("/v1/recommendations", json={"history": ["1"]}).json(),
        attributing.get("/v1/items/1/similar").json(),
    ]
    ids = RecommendationIds([ID_KEY.encode()], 1)
    for answer in answers:
        found = ids.read(answer["recommendation_id"])
        assert found is not None
        assert [found.position_of(item["item_id"]) for item in answer["items"][:50]] == list(
            range(1, 1 + min(50, len(answer["items"])))
        )


def test_answers_without_keys_have_no_id(harness: AppHarness) -> None:
    assert "recommendation_id" not in harness.get("/v1/users/u/recommendations").json()
    assert "recommendation_id" not in harness.post("/v1/recommendations", json={"history": ["1"]}).json()
    assert "recommendation_id" not in harness.get("/v1/items/1/similar").json()
    assert "recblr_attribution" not in harness.get("/metrics").text


def test_funnel_is_counted_by_position(attributing: AppHarness) -> None:
    named, items = recommend(attributing)
    for item in items:
        send_event(attributing, item, type="impression", recommendation_id=named)
    send_event(attributing, items[2], recommendation_id=named)
    send_event(attributing, items[2], type="purchase", value=19.99, recommendation_id=named)
    [version] = experiments(attributing)["versions"]
    assert version["model_version"] == "v1"
    assert version["counts"] == {"impressions": 5, "clicks": 2, "conversions": 1, "value": 19.99}
    assert version["positions"][2] == {
        "position": 3,
        "impressions": 1,
        "clicks": 2,
        "conversions": 1,
        "value": 19.99,
    }
    assert version["rates"]["click_rate"] is None  # two clicks say too little
    page = attributing.get("/metrics").text
    assert 'recblr_attribution_value{position="3",version="v1"} 19.99' in page
    assert 'recblr_attribution_impressions{position="5",version="v1"} 1.0' in page


def test_rate_is_shown_once_its_interval_says_something(attributing: AppHarness) -> None:
    named, items = recommend(attributing)
    for item in items:
        for event_type in ("impression", "view", "impression", "view", "impression"):
            send_event(attributing, item, type=event_type, recommendation_id=named)
    [version] = experiments(attributing)["versions"]
    rate = version["rates"]["click_rate"]
    assert rate["value"] == pytest.approx(2 / 3)
    assert rate["value"] / 10 <= rate["low"] < rate["value"] < rate["high"] <= 10 * rate["value"]
    assert version["rates"]["conversion_rate"] is None


def test_batches_count_each_event_once(attributing: AppHarness) -> None:
    named, items = recommend(attributing)
    events = [
        {"user_id": "u", "item_id": item, "event_id": f"e-{item}", "recommendation_id": named} for item in items
    ]
    for _ in range(2):
        assert attributing.post("/v1/events/batch", json={"events": events * 2}).status_code == 200
    assert counts(attributing)["clicks"] == 5


def test_invalid_ids_count_nothing_and_refuse_nothing(attributing: AppHarness) -> None:
    named, items = recommend(attributing)
    other, other_items = recommend(attributing, "v", k=2)
    for number, text in enumerate([named[:-1], named + "A", "x", named[::-1], other[:-30] + named[-30:]]):
        assert send_event(attributing, items[0], event_id=f"e{number}", recommendation_id=text)["sequence"]
    send_event(attributing, "50", recommendation_id=other)
    assert "50" not in other_items
    assert counts(attributing) == {}


def test_undo_subtracts(attributing: AppHarness) -> None:
    named, items = recommend(attributing)
    send_event(attributing, items[0], event_id="e1", type="purchase", value=2.5, recommendation_id=named)
    send_event(attributing, items[1], recommendation_id=named)
    assert counts(attributing)["value"] == 2.5
    assert attributing.delete("/v1/users/u/events/e1").status_code == 200
    assert counts(attributing) == {"impressions": 0, "clicks": 1, "conversions": 0, "value": 0.0}


def test_events_count_under_any_user_and_survive_merge_and_deletion(attributing: AppHarness) -> None:
    named, items = recommend(attributing, "visitor")
    send_event(attributing, items[0], "visitor", recommendation_id=named, event_id="e")
    send_event(attributing, items[0], "account", recommendation_id=named, type="purchase", value=1)
    before = counts(attributing)
    assert before == {"impressions": 0, "clicks": 2, "conversions": 1, "value": 1.0}
    assert attributing.post("/v1/users/account/merge", json={"from_user_id": "visitor"}).status_code == 200
    assert counts(attributing) == before
    assert attributing.delete("/v1/users/account").status_code == 200
    assert counts(attributing) == before


def test_ab_test_is_an_experiment_of_its_own(attributing: AppHarness) -> None:
    assert isinstance(attributing.models, FakeModels)
    send_event(attributing, "1", recommendation_id="none")
    attributing.post("/v1/admin/test", json={"version": "v2", "share": 0.5})
    versions = set()
    for user in (f"user-{number}" for number in range(40)):
        named, items = recommend(attributing, user)
        versions.add(attributing.models.for_user(user).version)
        send_event(attributing, items[0], user, type="impression", recommendation_id=named)
        send_event(attributing, items[0], user, recommendation_id=named)
    [experiment] = experiments(attributing)["experiments"]
    assert experiment["running"]
    assert [arm["model_version"] for arm in experiment["versions"]] == sorted(versions)
    assert sum(arm["counts"]["clicks"] for arm in experiment["versions"]) == 40
    if len(versions) == 2:
        assert experiment["versions"][1]["uplift"]["click_rate"]["decision"] == "undecided"
    attributing.post("/v1/admin/test/end", json={"winner": "v2"})
    assert not experiments(attributing)["experiments"][0]["running"]


def test_keys_are_never_logged_nor_answered(attributing: AppHarness, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        named, items = recommend(attributing)
        send_event(attributing, items[0], recommendation_id=named)
        shown = attributing.get("/v1/admin/experiments").text + attributing.get("/metrics").text + named
    assert ID_KEY not in shown + caplog.text


def test_route_without_counts_is_empty(attributing: AppHarness) -> None:
    assert experiments(attributing) == {"versions": [], "experiments": []}
