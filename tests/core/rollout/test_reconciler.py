"""Tests of the reconciler: records that are late, lost, unreadable or unloadable."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from service.core.rollout.desired_state import ROLLOUT_RECORD, DesiredState, Serving
from tests.core.rollout.worker_harness import FakeBundles, FakeDeployment, logged, run, until, versions


def test_older_read_that_ends_later_is_not_applied() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        async with deployment.worker(FakeBundles("1", "2")) as models:
            await models.reload("1")
            deployment.kill(models)  # from here on only the test reconciles
            deployment.store.delayed_read = delay = asyncio.Event()
            early = asyncio.create_task(models._reconciler.reconcile())
            await asyncio.sleep(0)
            deployment.store.written[ROLLOUT_RECORD] = DesiredState(Serving("2"), True, ("00002", "2")).encode()
            late = asyncio.create_task(models._reconciler.reconcile())
            await asyncio.sleep(0.01)
            delay.set()
            await asyncio.gather(early, late)
            assert models._reconciler.desired == deployment.desired

    run(scenario)


def test_failed_load_of_a_serving_version_is_retried_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        async with deployment.worker(FakeBundles("1", "2", "3")) as models:
            await models.reload("2")
        bundles = FakeBundles("1", "2", "3")
        bundles.bad = {"2"}
        async with deployment.worker(bundles, retry_seconds=0.1) as models:
            assert versions(models) == [["3"]]
            await until(lambda: bundles.loads.count("2") >= 3)
            bundles.bad = set()
            await until(lambda: versions(models) == [["2"]])

    run(scenario)
    assert logged(caplog) == [("cannot load a model", "/bundles/2 is damaged")]


def test_old_engine_is_freed_after_the_switch() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        async with deployment.worker(FakeBundles("1", "2")) as models:
            await models.reload("1")
            await asyncio.sleep(0.2)
            in_flight = models.live
            old = weakref.ref(in_flight)
            await models.reload("2")
            assert in_flight.version == "1"  # a request keeps the engine that it began with
            gc.disable()
            try:
                del in_flight
                await asyncio.sleep(0.2)
                assert old() is None
            finally:
                gc.enable()

    run(scenario)


def test_missing_version_is_replaced_by_the_newest_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        async with deployment.worker(FakeBundles("1", "2", "3")) as models:
            await models.reload("1")
        async with deployment.worker(FakeBundles("2", "3")) as models:
            assert versions(models) == [["3"]]
            await models.reload("2")
            assert deployment.desired.serving == Serving("2")

    run(scenario)
    assert ("cannot load a model", "there is no version '1'") in logged(caplog)


@pytest.mark.parametrize("record", ["", "?", "[]", '{"format":99}', '{"format":1,"serving":{"live":1}}'])
def test_record_of_another_format_is_kept_until_the_next_decision(record: str) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        deployment.store.written[ROLLOUT_RECORD] = record
        async with deployment.worker(FakeBundles("1", "2")) as models:
            assert versions(models) == [["2"]]
            assert deployment.store.written[ROLLOUT_RECORD] == record
            await models.reload("1")
            assert deployment.desired.serving == Serving("1")

    run(scenario)


def test_worker_without_store_serves_the_newest_and_reconciles_later(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        async with deployment.worker(FakeBundles("1", "2")) as models:
            await models.reload("1")
        deployment.store.down = True
        async with deployment.worker(FakeBundles("1", "2"), watch=True) as models:
            assert versions(models) == [["2"]]
            await asyncio.sleep(0.5)
            deployment.store.down = False
            await until(lambda: versions(models) == [["1"]])

    run(scenario)
    assert {record.levelname for record in caplog.records} == {"WARNING"}  # an outage is no error of the service


def test_lost_record_is_restored() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        async with deployment.worker(FakeBundles("1", "2")) as models:
            await models.reload("1")
            record = deployment.store.written[ROLLOUT_RECORD]
            deployment.store.written.clear()
            await until(lambda: deployment.store.written.get(ROLLOUT_RECORD) == record)
            assert versions(models) == [["1"]]

    run(scenario)
