"""Tests of the backfill job: which versions are backfilled, and when."""

from __future__ import annotations

import asyncio

import pytest

from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead
from service.core.jobs.backfill_progress_record import PAGE_USERS, list_backfills
from tests.core.fakes import FakeEngine
from tests.core.jobs.backfill_harness import (
    FakeModels,
    Meter,
    ObservedStore,
    backfilling,
    event,
    fill,
    replayed_items,
    until_ended,
)
from tests.core.memory_store import MemoryStore

pytestmark = pytest.mark.anyio


async def test_each_served_version_is_backfilled() -> None:
    store = MemoryStore()
    histories = await fill(store, 10)
    async with backfilling(store, FakeEngine("v1"), FakeEngine("v2")):
        await until_ended(store, "v1")
        await until_ended(store, "v2")
    for user, items in histories.items():
        assert replayed_items(store, user, "v1") == replayed_items(store, user, "v2") == items


async def test_stopped_backfill_continues_where_it_was() -> None:
    store = ObservedStore()
    histories = await fill(store, 6 * PAGE_USERS)
    async with backfilling(store, FakeEngine()):
        await store.first_put.wait()
    begun = (await list_backfills(store))["v1"]
    assert begun.ended_at is None
    stored = sum(len(log.snapshots) for log in store.logs.values())
    assert 0 < stored < len(histories)
    async with backfilling(store, FakeEngine(), meter=(meter := Meter())):
        progress = await until_ended(store)
    assert progress.started_at == begun.started_at
    assert meter.work.snapshots == len(histories) - stored
    assert {user: replayed_items(store, user) for user in histories} == histories


async def test_ended_backfill_is_not_repeated_after_a_restart() -> None:
    store = MemoryStore()
    await fill(store, 5)
    async with backfilling(store, FakeEngine()):
        await until_ended(store)
    requests = len(store.requests)
    async with backfilling(store, FakeEngine()):
        await asyncio.sleep(0.05)
    assert len(store.requests) == requests


async def test_version_that_is_served_again_is_backfilled_again() -> None:
    store, models = MemoryStore(), FakeModels(FakeEngine("v1"))
    histories = await fill(store, 5)
    async with backfilling(store, models=models):
        await until_ended(store, "v1")
        models.served = (FakeEngine("v2"),)
        await until_ended(store, "v2")
        assert set(await list_backfills(store)) == {"v2"}  # the record of the other version is removed
        await store.append_and_read([AppendAndRead("u003", None, (event("9"), event("10")))])
        models.served = (FakeEngine("v1"),)
        await until_ended(store, "v1")
    assert replayed_items(store, "u003", "v1") == [*histories["u003"], "9", "10"]


async def test_backfill_continues_after_an_outage() -> None:
    store = ObservedStore()
    histories = await fill(store, 2 * PAGE_USERS)
    store.down = True
    async with backfilling(store, FakeEngine()):
        await asyncio.sleep(0.05)
        assert store.puts == []
        store.down = False
        await store.first_put.wait()
        store.put_error = StoreUnavailable("the event log does not answer")
        await asyncio.sleep(0.05)
        store.put_error = None
        await until_ended(store)
    assert {user: replayed_items(store, user) for user in histories} == histories


async def test_empty_store_ends_after_one_pass() -> None:
    store = MemoryStore()
    async with backfilling(store, FakeEngine()):
        progress = await until_ended(store)
    assert (progress.total_users, progress.snapshots, progress.pass_number) == (0, 0, 1)
