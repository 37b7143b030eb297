"""Named filters over HTTP."""

from __future__ import annotations

import pytest

from tests.api.app_harness import AppHarness


def test_filter_is_named_listed_and_deleted(harness: AppHarness) -> None:
    assert harness.get("/v1/filters").json() == {"filters": []}
    cheap = {"name": "cheap", "expression": "price < 50"}
    harness.call("PUT", "/v1/attributes/price", json={"type": "number"})
    assert harness.call("PUT", "/v1/filters/cheap", json={"expression": "price < 50"}).json() == cheap
    assert harness.get("/v1/filters").json() == {"filters": [cheap]}
    assert harness.get("/v1/filters/cheap").json() == cheap
    assert harness.delete("/v1/filters/cheap").json() == {"name": "cheap", "deleted": True}
    for method in ("GET", "DELETE"):
        error = harness.refused(404, harness.call(method, "/v1/filters/cheap"))
        assert error["code"] == "filter_not_found"


@pytest.mark.parametrize("name", ["a b", "-a", "x" * 65, "%C3%BC", "a/b"])
def test_name_that_a_query_could_not_hold_is_refused(harness: AppHarness, name: str) -> None:
    assert harness.call("PUT", f"/v1/filters/{name}", json={"expression": "1 = 1"}).status_code in (404, 422)


def test_expression_that_names_no_attribute_is_refused(harness: AppHarness) -> None:
    harness.call("PUT", "/v1/attributes/price", json={"type": "number"})
    error = harness.refused(422, harness.call("PUT", "/v1/filters/cheap", json={"expression": "prise < 50"}))
    assert "price" in str(error)
    assert harness.get("/v1/filters").json() == {"filters": []}


def test_expression_is_bounded(harness: AppHarness) -> None:
    for expression in ("", "x" * 4097):
        harness.refused(422, harness.call("PUT", "/v1/filters/cheap", json={"expression": expression}))
