"""Route for the progress of backfills."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.core.jobs.backfill_progress_record import Progress
from tests.api.app_harness import AppHarness
from tests.api.conftest import KEY
from tests.core.memory_store import MemoryStore

HEADERS = {"x-api-key": KEY}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def backfilling(tmp_path: Path, store: MemoryStore) -> Iterator[AppHarness]:
    harness = AppHarness(tmp_path, keys=(KEY,), store=store).start()
    yield harness
    harness.close()


def test_no_backfill_gives_empty_list(backfilling: AppHarness) -> None:
    assert backfilling.get("/v1/admin/backfills", headers=HEADERS).json() == {"backfills": []}


def test_running_and_ended_backfills_are_listed_newest_first(backfilling: AppHarness, store: MemoryStore) -> None:
    ended = Progress(total_users=4, started_at=0.0, updated_at=60.0, ended_at=60.0, snapshots=4, events=9)
    running = Progress(total_users=3, started_at=100.0, updated_at=130.0, users=1, snapshots=1, events=2)
    for version, progress in (("v1", ended), ("v2", running)):
        assert asyncio.run(store.compare_and_set(f"backfill:{version}", None, progress.encode()))
    assert backfilling.get("/v1/admin/backfills", headers=HEADERS).json()["backfills"] == [
        {
            "model_version": "v2",
            "running": True,
            "fraction_done": 0.3333,
            "pass": 1,
            "users": 3,
            "snapshots": 1,
            "events": 2,
            "started_at": "1970-01-01T00:01:40Z",
            "ended_at": None,
        },
        {
            "model_version": "v1",
            "running": False,
            "fraction_done": 1.0,
            "pass": 1,
            "users": 4,
            "snapshots": 4,
            "events": 9,
            "started_at": "1970-01-01T00:00:00Z",
            "ended_at": "1970-01-01T00:01:00Z",
        },
    ]
