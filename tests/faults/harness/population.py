"""Users posted through the API, and audited one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from service.store.factory import open_store
from tests.faults.harness.client import Client

MAX_HISTORY = 200
BATCH_EVENTS = 1000
CONNECTIONS = 8
ATTEMPTS, RETRY_PAUSE_SECONDS = 50, 0.2


class Population:
    """Users with histories of realistic lengths and item popularity."""

    def __init__(self, users: int, items: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        lengths = np.minimum(rng.zipf(2.0, users), MAX_HISTORY)
        sampled = (rng.zipf(1.3, lengths.sum()) - 1) % items + 1
        ends = np.cumsum(lengths)
        self.histories = {
            f"user{n}": [f"i{row}" for row in sampled[end - length : end]]
            for n, (end, length) in enumerate(zip(ends, lengths, strict=True))
        }

    @property
    def events(self) -> int:
        return sum(map(len, self.histories.values()))

    async def fill(self, url: str) -> None:
        """Post all histories with timestamp 0, each history in one batch."""
        batches = self._batches()

        async def post() -> None:
            client = Client(url)
            for batch in batches:
                await _until_recorded(client, batch)
            client.close()

        await asyncio.gather(*(post() for _ in range(CONNECTIONS // 2)))

    def _batches(self) -> Iterator[list[dict[str, object]]]:
        batch: list[dict[str, object]] = []
        for user, items in self.histories.items():
            if len(batch) + len(items) > BATCH_EVENTS:
                yield batch
                batch = []
            batch += [
                {"user_id": user, "item_id": item, "timestamp": 0, "event_id": f"before-{n}"}
                for n, item in enumerate(items)
            ]
        yield batch


async def _until_recorded(client: Client, batch: list[dict[str, object]]) -> None:
    """Post a batch until all its events are recorded."""
    for _ in range(ATTEMPTS):
        status, body = await client.call("POST", "/events/batch", {"events": batch})
        assert status == 200, body
        refused = [result for result in body["results"] if "error" in result]
        if not refused:
            return
        await asyncio.sleep(RETRY_PAUSE_SECONDS)
    raise AssertionError(f"{len(refused)} events of a batch were refused {ATTEMPTS} times: {refused[0]}")


@dataclass
class AuditSummary:
    """Sum of the audits of all users."""

    sequences: dict[str, int]
    events: int = 0
    snapshots: int = 0
    damaged: int = 0
    inexact: int = 0  # snapshots that still reflect events removed by retention, unlike a replay
    max_relative_error: float = 0.0

    def figures(self) -> dict[str, object]:
        """Return the figures for the report."""
        return {
            "audited_users": len(self.sequences),
            "audited_events": self.events,
            "audited_snapshots": self.snapshots,
            "damaged_snapshots": self.damaged,
            "max_relative_error": self.max_relative_error,
        }


async def audit_all_users(url: str, state_url: str) -> AuditSummary:
    """Audit each user in the store `state_url` through the service at `url`."""
    waiting = await _users(state_url)
    summary = AuditSummary(dict.fromkeys(waiting, 0))

    async def audit() -> None:
        client = Client(url)
        while waiting:
            user = waiting.pop()
            status, answer = await client.read(f"/users/{user}/audit")
            assert status == 200, answer
            summary.sequences[user] = answer["sequence"]
            summary.events += answer["kept_events"]
            summary.snapshots += answer["snapshot"] == "found"
            summary.damaged += answer["snapshot"] == "damaged"
            if answer["exact"]:
                summary.max_relative_error = max(summary.max_relative_error, answer["max_relative_error"] or 0.0)
            else:
                summary.inexact += 1
        client.close()

    await asyncio.gather(*(audit() for _ in range(CONNECTIONS)))
    return summary


async def _users(state_url: str) -> list[str]:
    store = await open_store(state_url, 100_000)
    users: dict[str, None] = {}
    cursor = ""
    while True:
        page, cursor = await store.users(cursor, 1000)
        users.update(dict.fromkeys(page))
        if not cursor:
            break
    await store.close()
    return list(users)
