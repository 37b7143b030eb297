"""Items of the catalogue over HTTP."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from service.core.catalogue.revisions import includes
from tests.api.app_harness import AppHarness

SHOE = {
    "title": "Shoe",
    "categories": ["winter", "shoes", "shoes"],
    "available": False,
    "attributes": {"price": 49, "new": True, "brand": "acme", "sizes": ["43", "42"]},
    "vector": [0.1, -2],
}
STORED = {
    "item_id": "a",
    "title": "Shoe",
    "categories": ["shoes", "winter"],
    "available": False,
    "attributes": {"brand": "acme", "new": True, "price": 49.0, "sizes": ["42", "43"]},
    "vector": [0.1, -2.0],
}


def send(harness: AppHarness, method: str, path: str, body: Any = None) -> dict[str, Any]:
    response = harness.call(method, path, json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_item_is_put_read_patched_and_deleted(harness: AppHarness) -> None:
    put = send(harness, "PUT", "/v1/items/a", SHOE)
    assert put.pop("catalogue_revision")
    assert put == {"item_id": "a", "changed": True}
    assert send(harness, "GET", "/v1/items/a") == STORED
    assert not send(harness, "PUT", "/v1/items/a", SHOE)["changed"]
    assert send(harness, "PATCH", "/v1/items/a", {"available": None, "title": None, "attributes": {"new": None}})[
        "changed"
    ]
    attributes = {"brand": "acme", "price": 49.0, "sizes": ["42", "43"]}
    assert send(harness, "GET", "/v1/items/a") == {
        **STORED,
        "available": True,
        "title": None,
        "attributes": attributes,
    }
    assert send(harness, "DELETE", "/v1/items/a")["changed"]
    assert harness.refused(404, harness.get("/v1/items/a"))["code"] == "item_not_found"
    assert harness.refused(404, harness.call("PATCH", "/v1/items/a", json={}))["code"] == "item_not_found"
    assert not send(harness, "DELETE", "/v1/items/a")["changed"]
    send(harness, "PUT", "/v1/items/a", {})
    assert send(harness, "GET", "/v1/items/a") == {
        "item_id": "a",
        "title": None,
        "categories": [],
        "available": True,
        "attributes": {},
        "vector": None,
    }


@pytest.mark.parametrize("item_id", ["batch", "similar", "a/b", "ü ✓", "a?b#c", "%2F", "..."])
def test_id_is_percent_encoded_in_the_path(harness: AppHarness, item_id: str) -> None:
    path = "/v1/items/" + "".join(f"%{byte:02X}" for byte in item_id.encode())
    assert send(harness, "PUT", path, {"title": "x"})["item_id"] == item_id
    assert send(harness, "GET", path)["item_id"] == item_id


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ({"titel": "x"}, "titel", "is not known here"),
        ({"title": 5}, "title", "must be a string"),
        ({"title": "x" * 1025}, "title", "must have at most 1024 characters"),
        ({"title": "ü" * 1000}, "title", "has 2000 bytes"),
        ({"title": "\ud800"}, "title", "must be valid Unicode"),
        ({"categories": "shoes"}, "categories", "must be a list"),
        ({"categories": ["x"] * 65}, "categories", "must have at most 64 entries"),
        ({"available": "yes"}, "available", "must be true or false"),
        ({"available": 1}, "available", "must be true or false"),
        ({"attributes": {"price": {"eur": 5}}}, "attributes.price", "must be true, false, a number"),
        ({"attributes": {"tags": ["a", 5]}}, "attributes.tags", "must be true, false, a number"),
        ({"attributes": {"brand": "\udfff"}}, "attributes.brand", "must be valid Unicode"),
        ({"attributes": {"\ud800": 1}}, "attributes.\\ud800", "must be a letter or _"),
        (
            {"attributes": {"price": "cheap"}},
            "attributes.price",
            "is declared as number: send a number, not a string",
        ),
        ({"vector": []}, "vector", "must have at least 1 entry"),
        ({"vector": [1.0] * 1025}, "vector", "must have at most 1024 entries"),
        ({"vector": [1.0, 2.0, 3.0]}, "vector", "has 3 numbers; every vector of this catalogue has 2"),
        ({"vector": ["1"]}, "vector.0", "must be a number"),
        ([], "body", "must be"),
    ],
)
def test_item_beyond_the_contract_is_refused(harness: AppHarness, body: Any, field: str, problem: str) -> None:
    send(harness, "PUT", "/v1/items/a", SHOE)
    content = json.dumps(body)
    answer = harness.call("PUT", "/v1/items/a", content=content, headers={"content-type": "application/json"})
    error = harness.refused(422, answer)
    [detail] = error["details"]
    assert detail["field"] == field
    assert detail["problem"].startswith(problem)
    assert send(harness, "GET", "/v1/items/a") == STORED


def test_time_is_kept_in_utc(harness: AppHarness) -> None:
    assert send(harness, "PUT", "/v1/attributes/until", {"type": "time"}) == {"name": "until", "type": "time"}
    for sent, kept in (
        ("2026-12-24T18:00:00+01:00", "2026-12-24T17:00:00Z"),
        ("2026-12-24T18:00:00.000001Z", "2026-12-24T18:00:00.000001Z"),
    ):
        send(harness, "PUT", "/v1/items/a", {"attributes": {"until": sent}})
        assert send(harness, "GET", "/v1/items/a")["attributes"] == {"until": kept}
    answer = harness.call("PUT", "/v1/items/a", json={"attributes": {"until": "2026-12-24T18:00:00"}})
    assert "with an offset or Z" in harness.refused(422, answer)["details"][0]["problem"]


def test_batch_has_an_outcome_for_each_item(harness: AppHarness) -> None:
    items = [
        {"item_id": "a", **SHOE},
        {"item_id": ""},
        {"item_id": "b", "attributes": {"price": "x"}},
        5,
        {"item_id": "c"},
    ]
    batch = send(harness, "POST", "/v1/items/batch", {"items": items})
    put, no_id, mismatch, no_object, other = batch["results"]
    assert (put, other) == ({"item_id": "a", "changed": True}, {"item_id": "c", "changed": True})
    assert no_id["error"]["details"] == [{"field": "item_id", "problem": "must have at least 1 character"}]
    assert mismatch["error"]["details"][0]["field"] == "attributes.price"
    assert no_object["error"]["details"] == [{"field": "body", "problem": "must be a JSON object"}]
    assert send(harness, "GET", "/v1/items/a") == STORED
    patch = [{"item_id": "a", "available": True}, {"item_id": "d", "title": "New"}]
    patched = send(harness, "POST", "/v1/items/batch", {"items": patch, "mode": "patch"})
    assert [result["changed"] for result in patched["results"]] == [True, True]
    assert send(harness, "GET", "/v1/items/a") == {**STORED, "available": True}
    assert includes(patched["catalogue_revision"], patched["catalogue_revision"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "items"),
        ({"items": []}, "items"),
        ({"items": [{"item_id": "a"}] * 1001}, "items"),
        ({"items": [{"item_id": "a"}], "mode": "post"}, "mode"),
        ({"items": {}}, "items"),
        ({"items": [{"item_id": "a"}], "more": 1}, "more"),
    ],
)
def test_batch_that_is_not_valid_is_refused_as_a_whole(harness: AppHarness, body: Any, field: str) -> None:
    error = harness.refused(422, harness.post("/v1/items/batch", json=body))
    assert [detail["field"] for detail in error["details"]] == [field]
    harness.refused(404, harness.get("/v1/items/a"))


def test_batch_of_a_thousand_items_with_vectors_is_stored(harness: AppHarness) -> None:
    items = [{"item_id": f"i{n}", "vector": [n / 8] * 300, "attributes": {"n": n}} for n in range(1000)]
    content = gzip.compress(json.dumps({"items": items}).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = harness.call("POST", "/v1/items/batch", content=content, headers=headers)
    assert answer.status_code == 200
    assert all(result["changed"] for result in answer.json()["results"])
    assert send(harness, "GET", "/v1/items/i999")["attributes"] == {"n": 999.0}


@pytest.mark.parametrize("content", [b"", b"[", b'{"items":[{]}', b"\xff\xfe", b"5", b"null"])
def test_body_that_is_no_batch_is_refused(harness: AppHarness, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = harness.call("POST", "/v1/items/batch", content=content, headers=headers)
    assert answer.status_code in (400, 422)
    assert harness.refused(answer.status_code, answer)["code"] == "invalid_request"


def test_body_beyond_four_mebibytes_is_refused(harness: AppHarness) -> None:
    items = [{"item_id": f"i{n}", "title": "x" * 1000} for n in range(4300)]
    assert harness.refused(413, harness.post("/v1/items/batch", json={"items": items}))["code"] == "payload_too_large"


def followed(harness: AppHarness, count: int) -> dict[str, Any]:
    """The whole list, once the copy has this many items."""
    for _ in range(500):
        page = send(harness, "GET", "/v1/items?limit=1000")
        if len(page["items"]) == count:
            return page
        harness.run(asyncio.sleep(0.01))
    pytest.fail(f"the copy has {len(page['items'])} items")


def test_items_are_listed_in_pages_by_id(harness: AppHarness) -> None:
    assert send(harness, "GET", "/v1/items")["items"] == []
    items = [{"item_id": f"i{n:02}", "attributes": {"n": n}, "available": n % 2 == 0} for n in range(25)]
    put = send(harness, "POST", "/v1/items/batch", {"items": items})
    send(harness, "DELETE", "/v1/items/i07")
    listed = followed(harness, 24)
    assert includes(listed["catalogue_revision"], put["catalogue_revision"])
    assert listed["next_cursor"] is None
    assert listed["items"][1] == {
        "item_id": "i01",
        "title": None,
        "categories": [],
        "available": False,
        "attributes": {"n": 1.0},
    }
    found, cursor = [], ""
    while cursor is not None:
        page = harness.call("GET", "/v1/items", params={"limit": 10, "cursor": cursor}).json()
        assert len(page["items"]) <= 10
        found += page["items"]
        cursor = page["next_cursor"]
    assert found == listed["items"]
    some = harness.call("GET", "/v1/items", params={"filter": "n >= 20 AND available", "limit": 2}).json()
    assert ([item["item_id"] for item in some["items"]], some["total"]) == (["i20", "i22"], 3)
    assert listed["total"] == 24


def test_vectors_are_listed_on_request(harness: AppHarness) -> None:
    items: list[dict[str, Any]] = [{"item_id": "a", "vector": [0.1, -2.5e-30]}, {"item_id": "b"}]
    send(harness, "POST", "/v1/items/batch", {"items": items})
    assert "vector" not in followed(harness, 2)["items"][0]
    listed = harness.get("/v1/items?vectors=true").json()["items"]
    assert [item["vector"] for item in listed] == [[0.1, -2.5e-30], None]
    assert "at most 100" in str(harness.refused(422, harness.get("/v1/items?vectors=true&limit=101")))


def test_list_with_a_wrong_filter_is_refused_with_a_suggestion(harness: AppHarness) -> None:
    send(harness, "PUT", "/v1/attributes/price", {"type": "number"})
    error = harness.refused(422, harness.call("GET", "/v1/items", params={"filter": "prise < 5"}))
    assert "price" in json.dumps(error)


def test_value_of_a_deleted_attribute_is_not_listed(harness: AppHarness) -> None:
    send(harness, "PUT", "/v1/items/a", {"attributes": {"price": 5, "new": True}})
    send(harness, "DELETE", "/v1/attributes/price")
    assert followed(harness, 1)["items"][0]["attributes"] == {"new": True}


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "filter=", "more=1", "cursor=" + "x" * 3000])
def test_list_with_a_wrong_parameter_is_refused(harness: AppHarness, query: str) -> None:
    harness.refused(422, harness.get(f"/v1/items?{query}"))
