"""Routes about items."""

from __future__ import annotations

from tests.api.app_harness import AppHarness


def test_similar_returns_nearest_items_without_the_item(harness: AppHarness) -> None:
    body = harness.get("/v1/items/10/similar?k=2").json()
    assert (body["item_id"], [item["item_id"] for item in body["items"]]) == ("10", ["11", "9"])
    assert harness.refused(404, harness.get("/v1/items/x/similar"))["code"] == "item_not_found"
