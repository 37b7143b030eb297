"""Test harness of the backfill: stores and engines in plain Python."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from service.core.events import AppendAndRead, NewEvent, SnapshotPut
from service.core.jobs.backfill import BackfillJob
from service.core.jobs.backfill_progress_record import BackfillWork, Progress, list_backfills
from service.core.ports import Engine
from service.core.recommending.log_replay.snapshots import decode_snapshot
from tests.core.fakes import CATALOGUE, CountingMeter
from tests.core.memory_store import MemoryStore


class Meter(CountingMeter):
    """Meter that keeps the work and every reported progress."""

    def __init__(self) -> None:
        super().__init__()
        self.work = BackfillWork()
        self.progress: list[float | None] = []

    def backfilled(self, work: BackfillWork) -> None:
        self.work += work

    def backfill_progress(self, fraction_done: float | None) -> None:
        self.progress.append(fraction_done)


class FakeModels:
    """The served models, which a test replaces."""

    def __init__(self, *served: Engine) -> None:
        self.served = served


def event(item: str, event_id: str | None = None) -> NewEvent:
    return NewEvent.create(item, None, event_id, 1.0)


async def fill(store: MemoryStore, users: int, events: int = 3) -> dict[str, list[str]]:
    """Append `events` to `events + 3` events a user; return the items."""
    histories = {
        f"u{user:03}": [CATALOGUE[(7 * user + n) % len(CATALOGUE)] for n in range(events + user % 4)]
        for user in range(users)
    }
    for user, items in histories.items():
        await store.append_and_read(
            [AppendAndRead(user, None, tuple(event(item, f"e{n}") for n, item in enumerate(items)))]
        )
    return histories


def replayed_items(store: MemoryStore, user: str, version: str = "v1") -> list[str]:
    """The items that the state in the user's snapshot has replayed."""
    blob = store.snapshot(user, version)
    assert blob is not None, user
    snapshot = decode_snapshot(blob, user, version)
    assert snapshot.applied == store.logs[user].snapshots[version][0] == store.logs[user].sequence
    items: list[str] = json.loads(snapshot.state)
    return items


@asynccontextmanager
async def backfilling(
    store: MemoryStore,
    *engines: Engine,
    meter: Meter | None = None,
    models: FakeModels | None = None,
    max_fraction: float = 1.0,
) -> AsyncIterator[BackfillJob]:
    """Run a backfill job meanwhile."""
    job = BackfillJob(
        store,
        models or FakeModels(*engines),
        meter or Meter(),
        max_fraction=max_fraction,
        poll_seconds=0.01,
        claim_timeout_seconds=0.2,
    )
    job.start()
    try:
        yield job
    finally:
        await job.close()


async def until_ended(store: MemoryStore, version: str = "v1") -> Progress:
    async with asyncio.timeout(10):
        while True:
            found = (await list_backfills(store)).get(version) if not store.down else None
            if found is not None and found.ended_at is not None:
                return found
            await asyncio.sleep(0.005)


class ObservedStore(MemoryStore):
    """Store that tells when the first snapshots are written."""

    def __init__(self) -> None:
        super().__init__()
        self.first_put = asyncio.Event()

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        self.first_put.set()
        return await super().put_snapshots(puts)
