"""Tests of worker membership, with and without outages of the store."""

from __future__ import annotations

import asyncio

import pytest

from service.core.rollout.membership import DEAD_AFTER_SECONDS, Membership, WorkerStatus
from tests.core.memory_store import MemoryStore

IDLE = WorkerStatus()


class TwoWorkers:
    """Two workers on one store, which observe and report every 0.1 s."""

    def __init__(self) -> None:
        self.now = 100.0
        self.store = MemoryStore()
        self.one, self.two = (Membership(self.store, name, lambda: self.now) for name in ("one", "two"))

    async def run(self, seconds: float, *workers: Membership, status: WorkerStatus = IDLE) -> None:
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            for worker in workers:
                worker.observe(await self.store.records())
                await worker.report(status)


def test_worker_without_heartbeats_is_dead_until_it_reports_again() -> None:
    async def scenario() -> None:
        pair = TwoWorkers()
        await pair.run(3, pair.one, pair.two)
        assert set(pair.one.alive()) == {"one", "two"}
        await pair.run(DEAD_AFTER_SECONDS - 2, pair.one)
        assert set(pair.one.alive()) == {"one", "two"}
        await pair.run(2.2, pair.one)
        assert set(pair.one.alive()) == {"one"}
        await pair.run(1, pair.one, pair.two)
        assert set(pair.one.alive()) == {"one", "two"}

    asyncio.run(scenario())


@pytest.mark.parametrize("outage_seconds", [4.5, 6.0, 3600.0])
def test_store_outage_makes_no_worker_look_dead(outage_seconds: float) -> None:
    async def scenario() -> None:
        pair = TwoWorkers()
        await pair.run(3, pair.one, pair.two)
        pair.now += outage_seconds
        assert set(pair.one.alive()) == {"one", "two"}  # during the outage
        await pair.run(2, pair.one)  # the other worker has not noticed yet that the outage is over
        assert set(pair.one.alive()) == {"one", "two"}
        await pair.run(DEAD_AFTER_SECONDS - 1.8, pair.one)
        assert set(pair.one.alive()) == {"one"}

    asyncio.run(scenario())


def test_status_of_another_worker_is_read_as_reported() -> None:
    async def scenario() -> None:
        pair = TwoWorkers()
        status = WorkerStatus(("1", "2"), "1", {"3": "is damaged"}, True, "a1")
        await pair.run(0.1, pair.two, status=status)
        await pair.run(0.1, pair.one)
        assert pair.one.others() == {"two": status}

    asyncio.run(scenario())


@pytest.mark.parametrize("record", ["", "?", "[]", '{"format": 2, "loaded": ["1"], "serving": "1"}'])
def test_record_of_another_format_is_alive_with_nothing_loaded(record: str) -> None:
    async def scenario() -> None:
        pair = TwoWorkers()
        pair.store.written["worker:old"] = record
        await pair.run(0.1, pair.one)
        assert pair.one.others() == {"old": WorkerStatus()}

    asyncio.run(scenario())


def test_only_the_first_watching_worker_leads_the_watch() -> None:
    async def scenario() -> None:
        pair = TwoWorkers()
        assert not pair.one.leads_watch()
        await pair.run(0.2, pair.one, pair.two, status=WorkerStatus(watching=True))
        assert (pair.one.leads_watch(), pair.two.leads_watch()) == (True, False)

    asyncio.run(scenario())


def test_leaving_worker_removes_its_record() -> None:
    async def scenario() -> None:
        pair = TwoWorkers()
        await pair.run(0.2, pair.one, pair.two)
        await pair.two.leave()
        assert list(pair.store.written) == ["worker:one"]

    asyncio.run(scenario())
