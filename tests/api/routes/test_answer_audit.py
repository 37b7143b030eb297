"""Answers are computed again from the log and the catalogue, and compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.app_harness import AppHarness, send_event
from tests.api.question_harness import Json, ids, ok, open_shop, put_items, services

QUESTIONS: list[Json] = [
    {},
    {"k": 50, "exclude_seen": False},
    {"k": 7, "exclude": ["24", "23"], "filter": "price < :most AND 'even' IN categories", "params": {"most": 40}},
    {"k": 50, "filter": "NOT new"},
    {"k": 3, "filter": "price > 1000"},
]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[AppHarness]:
    harness = open_shop(tmp_path, fast_path=True)
    for number in (3, 40, 25):
        send_event(harness, str(number))
    yield harness
    harness.close()


def ask(shop: AppHarness, question: Json) -> Json:
    return ok(shop.post("/v1/users/u/recommendations", json=question))


def audit(shop: AppHarness, question: Json, answer: Json) -> Json:
    return ok(shop.post("/v1/users/u/audit", json={"question": question, "answer": answer}))


@pytest.mark.parametrize("question", QUESTIONS)
def test_answer_is_confirmed_exactly_while_nothing_has_changed(shop: AppHarness, question: Json) -> None:
    answer = ask(shop, question)
    found = audit(shop, question, answer)
    assert (found["outcome"], found["changed_items"], found["max_relative_error"]) == ("confirmed", 0, 0.0)
    assert found.get("reason") is None
    send_event(shop, "10")  # later events do not matter
    assert audit(shop, question, answer) == found


@pytest.mark.parametrize("question", QUESTIONS[:4])
def test_wrong_answer_is_refuted(shop: AppHarness, question: Json) -> None:
    answer = ask(shop, question)
    items = answer["items"]
    nudged = [*items[:-1], {**items[-1], "score": items[-1]["score"] - 0.1}]
    worse = [*items[:-1], {"item_id": "25" if len(items) > 20 else "1", "score": items[-1]["score"]}]
    for wrong in (items[1:], nudged, worse, items[::-1], [*items, items[-1]]):
        assert audit(shop, question, answer | {"items": wrong})["outcome"] == "refuted", wrong


def test_forbidden_and_missing_items_are_named(shop: AppHarness) -> None:
    question = {"k": 4, "filter": "price <= 20", "exclude": ["19"]}
    answer = ask(shop, question)
    assert ids(answer) == ["20", "18", "17", "16"]
    plain = ask(shop, {"k": 4})
    found = audit(shop, question, answer | {"items": plain["items"]})
    assert found["forbidden_items"] == ids(plain) == ["24", "26", "23", "27"]
    assert found["outcome"] == "refuted"
    found = audit(shop, question, answer | {"items": answer["items"][:1] + answer["items"][2:]})
    assert (found["outcome"], found["missing_items"]) == ("refuted", ["18"])
    unknown = [{"item_id": "of no model", "score": 0.0}]
    assert audit(shop, question, answer | {"items": unknown})["forbidden_items"] == ["of no model"]
    seen = [{"item_id": "25", "score": 0.0}]
    assert audit(shop, {}, answer | {"items": seen})["forbidden_items"] == ["25"]


def test_item_that_was_hidden_in_the_named_revision_is_forbidden_also_after_other_changes(shop: AppHarness) -> None:
    put_items(shop, [{"item_id": "24", "available": False}], "patch")
    answer = ask(shop, {"k": 3})
    put_items(shop, [{"item_id": "1", "available": False}, {"item_id": "2", "title": "other"}], "patch")
    found = audit(shop, {"k": 3}, answer)
    assert (found["outcome"], found["changed_items"]) == ("confirmed", 2)
    forged = [{"item_id": "24", "score": -1.0}, *answer["items"][:2]]
    found = audit(shop, {"k": 3}, answer | {"items": forged})
    assert (found["outcome"], found["forbidden_items"]) == ("refuted", ["24"])


def test_items_that_have_changed_since_are_counted_and_not_compared(shop: AppHarness) -> None:
    question = {"k": 3, "filter": "price < 100"}
    answer = ask(shop, question)
    put_items(shop, [{"item_id": ids(answer)[0], "available": False}, {"item_id": "30", "available": False}], "patch")
    found = audit(shop, question, answer)
    assert (found["outcome"], found["changed_items"], found["missing_items"]) == ("confirmed", 2, [])
    assert shop.delete(f"/v1/items/{ids(answer)[1]}").status_code == 200
    shop.run(services(shop).catalogue.sync.poll())
    assert audit(shop, question, answer)["changed_items"] == 3


def test_item_that_came_back_since_is_not_missing(shop: AppHarness) -> None:
    put_items(shop, [{"item_id": "24", "available": False}], "patch")
    answer = ask(shop, {"k": 3})
    put_items(shop, [{"item_id": "24", "available": True}], "patch")
    found = audit(shop, {"k": 3}, answer)
    assert (found["outcome"], found["changed_items"], found["missing_items"]) == ("confirmed", 1, [])


def test_now_is_the_time_that_the_answer_names(shop: AppHarness) -> None:
    assert shop.call("PUT", "/v1/attributes/until", json={"type": "time"}).status_code == 200
    items = [{"item_id": str(n), "attributes": {"until": f"2030-01-01T00:00:{n:02}.000001Z"}} for n in range(1, 51)]
    put_items(shop, items, "patch")
    clock = services(shop).catalogue.copy._filters
    question = {"k": 50, "filter": "until > now()"}
    noon = 1_893_456_000_000_000  # 2030-01-01 in microseconds
    answers = []
    for moment in (noon + 10_000_000, noon + 20_000_001, noon + 20_000_000):
        clock.clock = lambda moment=moment: moment
        answers.append(ask(shop, question))
        assert round(answers[-1]["evaluated_at"] * 1e6) == moment
    assert [len(answer["items"]) for answer in answers] == [39, 28, 29]  # of 41, 30 and 31, two are seen
    for answer in answers:
        assert audit(shop, question, answer)["outcome"] == "confirmed"
    assert audit(shop, question, answers[0] | {"evaluated_at": answers[1]["evaluated_at"]})["outcome"] == "refuted"


GONE: list[tuple[str, Json, str]] = [
    ("an undone event", {}, "events up to the sequence"),
    ("another model", {"model_version": "v0"}, "model version"),
    ("a sequence to come", {"sequence": 99}, "events up to the sequence"),
]


@pytest.mark.parametrize(("what", "change", "reason"), GONE)
def test_answer_whose_inputs_are_gone_is_unknown(shop: AppHarness, what: str, change: Json, reason: str) -> None:
    send_event(shop, "10", event_id="e")
    answer = ask(shop, {})
    if what == "an undone event":
        assert shop.delete("/v1/users/u/events/e").status_code == 200
    found = audit(shop, {}, answer | change)
    assert found["outcome"] == "unknown"
    assert reason in found["reason"]
    assert found["max_relative_error"] is None


def test_answer_under_a_filter_is_unknown_once_definitions_have_changed(shop: AppHarness) -> None:
    for expression in ("price < 20", "price < 10"):
        assert shop.call("PUT", "/v1/filters/cheap", json={"expression": expression}).status_code == 200
        shop.run(services(shop).catalogue.sync.poll())
        question = {"k": 5, "filter_name": "cheap"}
        if expression == "price < 20":
            answer = ask(shop, question)
            assert audit(shop, question, answer)["outcome"] == "confirmed"
    found = audit(shop, question, answer)
    assert (found["outcome"], found["reason"]) == (
        "unknown",
        "attributes or filters were declared or changed since the revision",
    )


def test_answer_of_an_empty_catalogue_is_confirmed_also_after_the_first_item(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path).start()
    send_event(harness, "25")
    answer = ask(harness, {})
    assert audit(harness, {}, answer)["outcome"] == "confirmed"
    put_items(harness, [{"item_id": "24", "available": False}])
    found = audit(harness, {}, answer)
    assert (found["outcome"], found["changed_items"]) == ("confirmed", 1)
    harness.close()


def test_answer_to_an_unknown_user_is_confirmed(shop: AppHarness) -> None:
    answer: Any = ok(shop.post("/v1/users/nobody/recommendations", json={"k": 3}))
    body = {"question": {"k": 3}, "answer": answer}
    assert ok(shop.post("/v1/users/nobody/audit", json=body))["outcome"] == "confirmed"
