"""Counts of what recommendations earned, served and replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from service.core.attribution.recommendation_ids import RecommendationIds
from tests.faults.harness.client import Client
from tests.faults.harness.modes import report
from tests.faults.harness.shoppers import Shoppers

COUNTED = ("impressions", "clicks", "conversions", "value")

# Counts by model version, position and what is counted; values in cents.
Counts = Counter[tuple[str, int, str]]


async def check_counts(shoppers: Shoppers, key: str, fault: str, **figures: object) -> None:
    """Report on shoppers who have ended, and compare their counts.

    Args:
        shoppers: the shoppers.
        key: signs the recommendation ids.
        fault: what was broken meanwhile.
        figures: more of the report.
    """
    expected = await replayed_counts(shoppers.url, shoppers.users, key.encode())
    counted = await served_counts(shoppers.url)
    differences = (expected - counted) + (counted - expected)
    report(
        fault,
        **figures,
        **shoppers.figures(),
        **{name: sum(n for (*_, each), n in counted.items() if each == name) for name in COUNTED},
        differences=len(differences),
    )
    assert not shoppers.unexpected, shoppers.unexpected[:5]
    assert not differences, differences
    assert all(sum(n for (*_, each), n in counted.items() if each == name) for name in COUNTED)


async def replayed_counts(url: str, users: Sequence[str], key: bytes) -> Counts:
    """Count what the whole logs of users say, without the service's counters."""
    ids, counts, client = RecommendationIds([key], 1), Counts(), Client(url)
    for user in users:
        before = ""
        while True:
            status, page = await client.read(f"/users/{user}/events?limit=1000{before}")
            if status == 404:
                break
            assert status == 200, page
            for event in page["events"]:
                _count(counts, ids, event)
            if page["next_before"] is None:
                break
            before = f"&before={page['next_before']}"
    client.close()
    return +counts


def _count(counts: Counts, ids: RecommendationIds, event: dict[str, Any]) -> None:
    found = ids.read(event.get("recommendation_id") or "")
    position = None if found is None else found.position_of(event["item_id"])
    kind = event.get("type") or "view"
    if found is None or position is None or kind == "dislike":
        return
    key = (found.model_version, position)
    if kind == "impression":
        counts[*key, "impressions"] += 1
    else:
        counts[*key, "clicks"] += 1
    if kind == "purchase":
        counts[*key, "conversions"] += 1
        counts[*key, "value"] += round(100 * event["value"])


async def served_counts(url: str) -> Counts:
    """Return what the service has counted."""
    client = Client(url)
    status, found = await client.read("/admin/experiments")
    client.close()
    assert status == 200, found
    counts = Counts()
    for version in found["versions"]:
        for shown in version["positions"]:
            for name in COUNTED:
                amount = round(100 * shown[name]) if name == "value" else shown[name]
                counts[version["model_version"], shown["position"], name] += amount
    return +counts
