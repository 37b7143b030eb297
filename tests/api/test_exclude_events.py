"""`exclude_events` over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.app_harness import AppHarness, send_event
from tests.api.question_harness import Ask, ask, ids, read, record, record_with_body

of_user = pytest.mark.parametrize("question", [read, ask, record, record_with_body])


@pytest.fixture(params=[True, False], ids=["fast path", "routes"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AppHarness]:
    harness = AppHarness(tmp_path, fast_path=request.param).start()
    yield harness
    harness.close()


@of_user
def test_exclude_events_leaves_out_by_type_and_age_from_the_kept_log(app: AppHarness, question: Ask) -> None:
    now, day = time.time(), 86_400.0
    send_event(app, "21", type="purchase", timestamp=now - 40 * day)
    send_event(app, "22", type="purchase", timestamp=now - 20 * day)
    send_event(app, "23", type="cart", timestamp=now - 1)
    for item in ("24", "30", "31"):
        send_event(app, item, query="?k=1")

    def left_out(*events: str) -> set[str]:
        asked = {"k": 50, "exclude_seen": False, "exclude_events": list(events)}
        return {"21", "22", "23", "24"} - set(ids(question(app, asked)))

    assert left_out("purchase:30d") == {"22"}
    assert left_out("purchase:3w") == {"22"}
    assert left_out("purchase") == {"21", "22"}
    assert left_out("purchase:30d", "cart:1m", "wish") == {"22", "23"}
    assert left_out("view") == {"24"}
    assert left_out("purchase", "purchase:1h") == {"21", "22"}
    answer = question(app, {"k": 3, "exclude_events": ["purchase"]})
    assert abs(answer["evaluated_at"] - time.time()) < 60


@pytest.mark.parametrize("events_at_once", [1, 3, 500])
def test_exclude_events_reads_a_log_of_several_pages(
    app: AppHarness, monkeypatch: pytest.MonkeyPatch, events_at_once: int
) -> None:
    monkeypatch.setattr("service.core.recommending.replays.EVENTS_AT_ONCE", events_at_once)
    for item in range(20, 29):
        send_event(app, str(item), type="purchase" if item % 2 else "cart", query="?k=1")
    found = ids(read(app, {"k": 50, "exclude_seen": False, "exclude_events": ["purchase"]}))
    assert {str(item) for item in range(20, 29)} & set(found) == {"20", "22", "24", "26", "28"}


@pytest.mark.parametrize("text", ["", "Purchase", "purchase:", "purchase:0d", "purchase:3", "purchase:3y", "a:1d,b"])
def test_wrong_exclude_events_is_a_422_with_a_sentence(app: AppHarness, text: str) -> None:
    problem = "must be a type of events, such as purchase, or a type and an age in m, h, d or w: purchase:30d"
    for refused in (
        app.refused(422, app.get("/v1/users/u/recommendations", params={"exclude_events": text})),
        app.refused(422, app.post("/v1/users/u/recommendations", json={"exclude_events": [text]})),
    ):
        assert refused["details"] == [{"field": "exclude_events.0", "problem": problem}]


def test_exclude_events_has_limits_and_needs_a_user_and_k(app: AppHarness) -> None:
    many = {"exclude_events": ["cart"] * 33}
    assert app.get("/v1/users/u/recommendations", params=many).status_code == 422
    event = {"user_id": "u", "item_id": "1", "exclude_events": ["cart"] * 20}
    assert app.post("/v1/events", params={"k": 3, "exclude_events": ["cart"] * 20}, json=event).status_code == 422
    assert app.post("/v1/events", json={**event, "exclude_events": ["cart"]}).status_code == 422
    assert app.post("/v1/recommendations", json={"history": [], "exclude_events": ["cart"]}).status_code == 422
    assert app.get("/v1/items/5/similar", params={"exclude_events": "cart"}).status_code == 422
    assert app.get("/v1/users/u/events").status_code == 404
