"""Declared attributes over HTTP."""

from __future__ import annotations

import pytest

from tests.api.app_harness import AppHarness


def test_attribute_is_declared_listed_and_deleted(harness: AppHarness) -> None:
    assert harness.get("/v1/attributes").json() == {"attributes": [], "vector_length": None}
    harness.call("PUT", "/v1/attributes/until", json={"type": "time"})
    harness.call("PUT", "/v1/items/a", json={"attributes": {"price": 5}, "vector": [1, 2, 3]})
    assert harness.get("/v1/attributes").json() == {
        "attributes": [{"name": "price", "type": "number"}, {"name": "until", "type": "time"}],
        "vector_length": 3,
    }
    assert harness.get("/v1/attributes/until").json() == {"name": "until", "type": "time"}
    assert harness.delete("/v1/attributes/price").json() == {"name": "price", "deleted": True}
    for method in ("GET", "DELETE"):
        error = harness.refused(404, harness.call(method, "/v1/attributes/price"))
        assert error["code"] == "attribute_not_found"
    assert harness.get("/v1/items/a").json()["attributes"] == {}


def test_other_type_than_the_declared_one_is_a_conflict(harness: AppHarness) -> None:
    assert harness.call("PUT", "/v1/attributes/price", json={"type": "number"}).status_code == 200
    assert harness.call("PUT", "/v1/attributes/price", json={"type": "number"}).status_code == 200
    error = harness.refused(409, harness.call("PUT", "/v1/attributes/price", json={"type": "string"}))
    assert error["code"] == "attribute_conflict"
    assert error["message"] == "price is declared as number; delete that declaration first"


@pytest.mark.parametrize("name", ["a-b", "title", "%24vector", "x" * 65, "%C3%BC"])
def test_name_that_no_filter_could_use_is_refused(harness: AppHarness, name: str) -> None:
    error = harness.refused(422, harness.call("PUT", f"/v1/attributes/{name}", json={"type": "number"}))
    assert error["message"].startswith("the attribute's name ")


def test_unknown_type_is_refused(harness: AppHarness) -> None:
    for body in ({"type": "int"}, {}, {"type": "time", "more": 1}):
        harness.refused(422, harness.call("PUT", "/v1/attributes/price", json=body))
