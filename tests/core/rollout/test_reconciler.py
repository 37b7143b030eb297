"""A worker follows what the note says, and copes with one that is lost, late, strange or cannot be followed."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from service.core.rollout.desired_state import ROLLOUT_RECORD, Rollout, Serving
from tests.core.rollout.worker_harness import FakeBundles, FakeDeployment, run, until, versions


def test_a_note_that_was_read_earlier_and_comes_later_is_not_followed() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        async with deployment.worker(FakeBundles("1", "2")) as models:
            await models.reload("1")
            deployment.killed(models)  # it looks when the test says so
            deployment.store.held = held = asyncio.Event()
            early = asyncio.create_task(models._reconciler.look())
            await asyncio.sleep(0)
            deployment.store.written[ROLLOUT_RECORD] = Rollout(Serving("2"), True, ("00002", "2")).encode()
            late = asyncio.create_task(models._reconciler.look())
            await asyncio.sleep(0.01)
            held.set()
            await asyncio.gather(early, late)
            assert models._reconciler.rollout == deployment.rollout

    run(scenario)


def test_what_is_to_be_served_is_tried_again_and_the_log_hears_of_it_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        async with deployment.worker(FakeBundles("1", "2", "3")) as models:
            await models.reload("2")
        bundles = FakeBundles("1", "2", "3")
        bundles.bad = {"2"}
        async with deployment.worker(bundles, retry=0.1) as models:
            assert versions(models) == [["3"]]
            await until(lambda: bundles.loads.count("2") >= 3)
            bundles.bad = set()
            await until(lambda: versions(models) == [["2"]])

    run(scenario)
    assert caplog.messages == ["2 is to be served and cannot be: /bundles/2 is damaged"]


def test_an_old_engine_is_freed_after_the_exchange() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        async with deployment.worker(FakeBundles("1", "2")) as models:
            await models.reload("1")
            await asyncio.sleep(0.2)
            in_flight = models.live
            old = weakref.ref(in_flight)
            await models.reload("2")
            assert in_flight.version == "1"  # whoever began with it ends with it
            gc.disable()
            try:
                del in_flight
                await asyncio.sleep(0.2)
                assert old() is None
            finally:
                gc.enable()

    run(scenario)


def test_a_version_that_is_gone_is_replaced_by_the_newest_with_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        async with deployment.worker(FakeBundles("1", "2", "3")) as models:
            await models.reload("1")
        async with deployment.worker(FakeBundles("2", "3")) as models:
            assert versions(models) == [["3"]]
            await models.reload("2")
            assert deployment.rollout.serving == Serving("2")

    run(scenario)
    assert "1 is to be served and cannot be: there is no version '1'" in caplog.messages


@pytest.mark.parametrize("note", ["", "?", "[]", '{"format":99}', '{"format":1,"serving":{"live":1}}'])
def test_a_note_of_another_release_is_left_alone_until_somebody_decides(note: str) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        deployment.store.written[ROLLOUT_RECORD] = note
        async with deployment.worker(FakeBundles("1", "2")) as models:
            assert versions(models) == [["2"]]
            assert deployment.store.written[ROLLOUT_RECORD] == note
            await models.reload("1")
            assert deployment.rollout.serving == Serving("1")

    run(scenario)


def test_without_a_store_a_worker_serves_and_follows_later(caplog: pytest.LogCaptureFixture) -> None:
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
    assert {record.levelname for record in caplog.records} == {"WARNING"}  # a store that is down is no fault of ours


def test_a_note_that_was_lost_is_written_again() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        async with deployment.worker(FakeBundles("1", "2")) as models:
            await models.reload("1")
            note = deployment.store.written[ROLLOUT_RECORD]
            deployment.store.written.clear()
            await until(lambda: deployment.store.written.get(ROLLOUT_RECORD) == note)
            assert versions(models) == [["1"]]

    run(scenario)
