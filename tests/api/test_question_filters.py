"""Questions with filters, exclusions and fields, end to end over HTTP."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.api.app_harness import AppHarness, send_event
from tests.api.question_harness import (
    ASKS,
    Ask,
    all_questions,
    ids,
    ok,
    put_items,
    services,
)


@all_questions
def test_only_items_of_the_filter_are_returned_with_the_revision(shop: AppHarness, question: Ask) -> None:
    revision = services(shop).catalogue.copy.revision
    answer = question(shop, {"k": 4, "filter": "price < :most AND 'even' IN categories", "params": {"most": 20}})
    assert set(ids(answer)) <= {str(number) for number in range(2, 20, 2)}
    assert len(answer["items"]) == 4
    assert answer["catalogue_revision"] == revision
    assert abs(answer["evaluated_at"] - time.time()) < 60
    assert "short" not in answer and "eligible" not in answer


@all_questions
def test_hidden_item_is_in_no_answer_and_comes_back(shop: AppHarness, question: Ask) -> None:
    first = ids(question(shop, {"k": 3}))
    hidden = put_items(shop, [{"item_id": first[0], "available": False}], "patch")
    without = question(shop, {"k": 50})
    assert first[0] not in ids(without)
    assert without["catalogue_revision"] == hidden
    put_items(shop, [{"item_id": first[0], "available": True}], "patch")
    assert ids(question(shop, {"k": 3})) == first


@all_questions
def test_deleted_item_is_in_no_answer(shop: AppHarness, question: Ask) -> None:
    gone = ids(question(shop, {"k": 1}))[0]
    assert shop.delete(f"/v1/items/{gone}").status_code == 200
    shop.run(services(shop).catalogue.sync.poll())
    assert gone not in ids(question(shop, {"k": 50, "exclude_seen": False}))


@all_questions
def test_a_thousand_excluded_items_are_left_out(shop: AppHarness, question: Ask) -> None:
    excluded = [str(number) for number in range(4, 1004)]
    if question.__name__ in ("read", "record", "similar", "cold"):
        excluded = excluded[:45]  # as much as is ordinary in a query string
    answer = question(shop, {"k": 10, "exclude": excluded})
    assert not set(ids(answer)) & set(excluded)
    assert set(ids(answer)) >= {"1", "2", "3"}
    assert answer["short"] is True
    assert answer["eligible"] == len(answer["items"])


@all_questions
def test_filter_that_leaves_nothing_says_so(shop: AppHarness, question: Ask) -> None:
    answer = question(shop, {"k": 5, "filter": "price > 1000"})
    assert (answer["items"], answer["short"], answer["eligible"]) == ([], True, 0)


@all_questions
@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("'even' IN categories AND 'd4' IN categories", range(4, 51, 10)),
        ("new", range(41, 51)),
        ("NOT new AND price >= 38", range(38, 41)),
        ("'S' IN sizes AND price <= 9", (3, 6, 9)),
        ("title = 'Größe 7'", (7,)),
    ],
)
def test_booleans_sets_and_categories_filter(shop: AppHarness, question: Ask, expression: str, wanted: range) -> None:
    answer = question(shop, {"k": 50, "filter": expression})
    assert set(ids(answer)) == {str(number) for number in wanted} - {"25"}
    assert answer["eligible"] == len(answer["items"])


@all_questions
def test_item_that_expires_leaves_the_answers_by_itself(shop: AppHarness, question: Ask) -> None:
    assert shop.call("PUT", "/v1/attributes/until", json={"type": "time"}).status_code == 200
    past, future = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00+02:00"
    put_items(
        shop,
        [{"item_id": str(n), "attributes": {"until": past if n < 30 else future}} for n in range(1, 51)],
        "patch",
    )
    answer = question(shop, {"k": 50, "filter": "until > now()", "fields": ["until"]})
    assert set(ids(answer)) == {str(number) for number in range(30, 51)}
    assert answer["items"][0]["attributes"] == {"until": "2099-12-31T22:00:00Z"}


@all_questions
def test_item_is_in_the_answers_until_the_microsecond_at_which_it_expires(shop: AppHarness, question: Ask) -> None:
    assert shop.call("PUT", "/v1/attributes/until", json={"type": "time"}).status_code == 200
    end = 1_893_456_000_000_000  # 2030-01-01 in microseconds
    put_items(shop, [{"item_id": "24", "attributes": {"until": "2030-01-01T00:00:00Z"}}], "patch")
    for offset, is_shown in ((-1, True), (0, False), (-1, True)):
        services(shop).catalogue.copy._filters.clock = lambda offset=offset: end + offset
        answer = question(shop, {"k": 50, "filter": "until > now()"})
        assert ids(answer) == ["24"] * is_shown
        assert round(answer["evaluated_at"] * 1e6) == end + offset


@all_questions
def test_items_carry_titles_and_the_named_attributes(shop: AppHarness, question: Ask) -> None:
    answer = question(shop, {"k": 2, "fields": ["price", "sizes", "title"]})
    for item in answer["items"]:
        number = int(item["item_id"])
        assert item["title"] == f"Größe {number}"
        assert item["categories"] == sorted(["even" if number % 2 == 0 else "odd", f"d{number % 10}"])
        assert item["attributes"]["price"] == number
        assert set(item["attributes"]) == {"price", "sizes"}
    assert "attributes" not in question(shop, {"k": 1})["items"][0]


@all_questions
def test_named_filter_applies_and_changes(shop: AppHarness, question: Ask) -> None:
    for most, wanted in ((3, {"1", "2", "3"}), (1, {"1"})):
        assert shop.call("PUT", "/v1/filters/cheap", json={"expression": f"price <= {most}"}).status_code == 200
        shop.run(services(shop).catalogue.sync.poll())
        assert set(ids(question(shop, {"k": 9, "filter_name": "cheap"}))) == wanted


def test_ranked_candidates_say_what_is_eligible(shop: AppHarness) -> None:
    put_items(shop, [{"item_id": "7", "available": False}], "patch")
    candidates = ["4", "7", "8", "nobody", "30"]
    plain = ok(shop.post("/v1/users/u/rank", json={"candidates": candidates}))
    question = {"candidates": candidates, "filter": "price < 20", "exclude": ["8"], "fields": ["price"]}
    answer = ok(shop.post("/v1/users/u/rank", json=question))
    assert ids(answer) == ids(plain)
    assert {item["item_id"] for item in plain["items"] if item["eligible"]} == {"4", "8", "30"}
    assert {item["item_id"] for item in answer["items"] if item["eligible"]} == {"4"}
    assert "short" not in answer
    assert answer["catalogue_revision"]


def test_long_answer_carries_entries_too(shop: AppHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.answers.MAX_INLINE_ITEMS", 3)
    monkeypatch.setattr("service.api.schemas.item_fields._SLICE", 7)
    for question in ASKS:
        answer = question(shop, {"k": 30, "fields": ["price"]})
        assert [item["attributes"]["price"] for item in answer["items"]] == list(map(int, ids(answer)))


def test_answers_of_an_empty_catalogue_are_as_before(tmp_path: Path) -> None:
    harness = AppHarness(tmp_path).start()
    send_event(harness, "25")
    answer = ok(harness.get("/v1/users/u/recommendations?k=3"))
    assert set(answer) == {"user_id", "model_version", "sequence", "source", "items"}
    assert ids(ok(harness.get("/v1/users/u/recommendations?k=3&exclude=24&exclude=26"))) == ["23", "27", "22"]
    harness.close()


def test_compilation_and_exclusions_are_charged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.request_costs._COMPILED_ROWS", 0.1)
    monkeypatch.setattr("service.api.request_costs._EXCLUDED", 1)
    harness = AppHarness(tmp_path, keys=("secret-secret-secret-1",), rate_limit=20).start()
    headers = {"authorization": "Bearer secret-secret-secret-1"}
    body = {"filter": "item_id <> '3'"}
    assert harness.post("/v1/users/u/recommendations", json=body, headers=headers).status_code == 200
    assert harness.post("/v1/users/u/recommendations", json={}, headers=headers).status_code == 429
    harness.close()
