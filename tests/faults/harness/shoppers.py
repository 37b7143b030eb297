"""Shoppers who send recommendation ids, and counts from the log."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from service.core.attribution.recommendation_ids import RecommendationIds
from tests.faults.harness.client import Client, Unanswered

SHOPPERS = 8
K = 8
RETRY_PAUSE_SECONDS = 0.02
TIMEOUT_SECONDS = 120.0
COUNTED = ("impressions", "clicks", "conversions", "value")

# Counts by model version, position and what is counted; values in cents.
Counts = Counter[tuple[str, int, str]]


class Shoppers:
    """Concurrent users who click, buy, forge ids, and undo.

    Each request is repeated until it is answered.
    """

    def __init__(self, url: str, users: Sequence[str], seed: int) -> None:
        self.users = users
        self.answered = 0  # requests
        self.forged = 0
        self.undone = 0
        self.repeated = 0
        self.unexpected: list[str] = []
        self._url = url
        self._random = [random.Random(f"{seed} {shopper}") for shopper in range(SHOPPERS)]
        self._stop, self._progress = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Shoppers]:
        """Shop inside the context; on exit wait for the last answers."""
        async with asyncio.TaskGroup() as group:
            for shopper in range(SHOPPERS):
                group.create_task(self._shop(shopper))
            try:
                yield self
            finally:
                self._stop.set()

    async def wait_for_answered(self, count: int) -> None:
        """Wait until `count` more requests are answered."""
        target = self.answered + count
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while self.answered < target:
                self._progress.clear()
                await self._progress.wait()

    async def _shop(self, shopper: int) -> None:
        rng, client, round_number = self._random[shopper], Client(self._url), 0
        while not self._stop.is_set():
            round_number += 1
            user, name = rng.choice(self.users), f"{shopper}-{round_number}"
            answer = await self._ask(client, "GET", f"/users/{user}/recommendations?k={K}&exclude_seen=false")
            text, items = answer["recommendation_id"], [item["item_id"] for item in answer["items"]]

            def event(item: str, kind: str, user: str = user, name: str = name, text: str = text) -> dict[str, Any]:
                event_id = f"{kind}-{name}-{item}"
                return {
                    "user_id": user,
                    "item_id": item,
                    "event_id": event_id,
                    "type": kind,
                    "recommendation_id": text,
                }

            seen = items[: rng.randrange(1, K + 1)]
            await self._ask(client, "POST", "/events/batch", {"events": [event(item, "impression") for item in seen]})
            clicked = rng.choice(seen)
            await self._ask(client, "POST", "/events", event(clicked, rng.choice(("view", "cart", "like"))))
            if rng.random() < 0.5:
                bought = {**event(clicked, "purchase"), "value": rng.randrange(1, 10_000) / 100}
                await self._ask(client, "POST", "/events?k=3", bought)
                if rng.random() < 0.3:
                    await self._ask(client, "DELETE", f"/users/{user}/events/{bought['event_id']}")
                    self.undone += 1
            if rng.random() < 0.5:
                self.forged += 1
                cut = rng.randrange(1, len(text))
                wrong = rng.choice((text[:cut], text[:cut] + rng.choice("xyz") * 3 + text[cut + 3 :]))
                await self._ask(
                    client,
                    "POST",
                    "/events",
                    {**event(clicked, "view"), "event_id": f"forged-{name}", "recommendation_id": wrong},
                )
        client.close()

    async def _ask(self, client: Client, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request until it is answered."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                try:
                    status, answer = await client.call(method, path, body)
                except Unanswered:
                    self.repeated += 1
                else:
                    if status == 200 or (method == "DELETE" and status == 404):
                        results = answer.get("results", ()) if status == 200 else ()
                        if all("sequence" in result for result in results):
                            break
                    elif status not in (429, 503):
                        self.unexpected.append(f"{method} {path}: {status} {answer}")
                        break
                await asyncio.sleep(RETRY_PAUSE_SECONDS)
        self.answered += 1
        self._progress.set()
        return answer


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
    return counts


def _count(counts: Counts, ids: RecommendationIds, event: dict[str, Any]) -> None:
    found = ids.read(event.get("recommendation_id") or "")
    position = None if found is None else found.position_of(event["item_id"])
    if found is None or position is None:
        return
    key, kind = (found.model_version, position), event.get("type") or "view"
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
