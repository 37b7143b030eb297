"""Many users, written and audited over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from service.store.factory import open_store
from tests.faults.client import Client

LONGEST_HISTORY = 200
BATCH = 1000
CONNECTIONS = 8
ATTEMPTS, PAUSE_SECONDS = 50, 0.2


class Population:
    """Random users with histories; item popularity and lengths follow a Zipf law."""

    def __init__(self, users: int, items: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        lengths = np.minimum(rng.zipf(2.0, users), LONGEST_HISTORY)
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
        """Post every history, in one batch each; all timestamps are 0."""
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
            if len(batch) + len(items) > BATCH:
                yield batch
                batch = []
            batch += [
                {"user_id": user, "item_id": item, "timestamp": 0, "event_id": f"before-{n}"}
                for n, item in enumerate(items)
            ]
        yield batch


async def _until_recorded(client: Client, batch: list[dict[str, object]]) -> None:
    """Post `batch` until every event is accepted."""
    for _ in range(ATTEMPTS):
        status, body = await client.call("POST", "/events/batch", {"events": batch})
        assert status == 200, body
        refused = [result for result in body["results"] if "error" in result]
        if not refused:
            return
        await asyncio.sleep(PAUSE_SECONDS)
    raise AssertionError(f"{len(refused)} events of a batch were refused {ATTEMPTS} times: {refused[0]}")


@dataclass
class AuditSummary:
    """Sums over the audits of all users."""

    sequences: dict[str, int]
    events: int = 0
    snapshots: int = 0
    damaged: int = 0
    inexact: int = 0  # snapshots with events that retention has removed, which a replay cannot have
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


async def audit_users(url: str, state_url: str) -> AuditSummary:
    """Audit each user of a store through the service at `url`."""
    waiting = await _users(state_url)
    audited = AuditSummary(dict.fromkeys(waiting, 0))

    async def ask() -> None:
        client = Client(url)
        while waiting:
            user = waiting.pop()
            status, found = await client.read(f"/users/{user}/audit")
            assert status == 200, found
            audited.sequences[user] = found["sequence"]
            audited.events += found["kept_events"]
            audited.snapshots += found["snapshot"] == "found"
            audited.damaged += found["snapshot"] == "damaged"
            if found["exact"]:
                audited.max_relative_error = max(audited.max_relative_error, found["max_relative_error"] or 0.0)
            else:
                audited.inexact += 1
        client.close()

    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return audited


async def _users(state_url: str) -> list[str]:
    store = await open_store(state_url, 100_000)
    found: dict[str, None] = {}
    cursor = ""
    while True:
        page, cursor = await store.users(cursor, 1000)
        found.update(dict.fromkeys(page))
        if not cursor:
            break
    await store.close()
    return list(found)
