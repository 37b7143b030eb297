"""Workers on one store exchange their models together or not at all, and find what was decided after a restart."""

from __future__ import annotations

import asyncio
import logging

import pytest

from service.core.errors import (
    ModelVersionNotFound,
    RolloutRefused,
    RolloutUnfinished,
    ServiceError,
    StoreUnavailable,
)
from service.core.rollout.desired_state import ROLLOUT_RECORD, Rollout, Serving
from tests.core.rollout.worker_harness import FakeBundles, FakeDeployment, run, until, versions


def test_a_reload_reaches_every_worker_and_going_back_is_the_same() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        one, two = FakeBundles("1"), FakeBundles("1")
        async with deployment.worker(one) as first, deployment.worker(two) as second:
            assert versions(first, second) == [["1"], ["1"]]
            for bundles in (one, two):
                bundles.publish("2")
            assert (await first.reload(None)).version == "2"
            assert versions(first, second) == [["2"], ["2"]]  # when the answer comes all have switched
            assert (await second.reload("1")).version == "1"
            assert versions(first, second) == [["1"], ["1"]]
            assert deployment.rollout == Rollout(Serving("1"), True, ("00002", "2"))
            assert sorted(one.loads) == sorted(two.loads) == ["1", "1", "2"]
        assert not [name for name in deployment.store.written if name.startswith("worker:")]

    run(scenario)


def test_a_bad_bundle_changes_nothing_anywhere_and_is_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        one, two = FakeBundles("1", "2"), FakeBundles("1", "2")
        async with deployment.worker(one) as first, deployment.worker(two) as second:
            await first.reload("1")
            note = deployment.store.written[ROLLOUT_RECORD]
            caplog.clear()
            one.bad = {"2"}
            with pytest.raises(RolloutRefused) as refused:
                await first.reload("2")
            assert refused.value.message == "the live model stays: 2 is damaged"  # where it lies is for the log
            assert [r.message for r in caplog.records] == [
                "models not exchanged: the live model stays: /bundles/2 is damaged"
            ]
            assert "2" not in two.loads[1:]  # no other worker has heard of it
            one.bad, two.bad = set(), {"2"}
            with pytest.raises(RolloutRefused, match=r"worker \d+ refuses: 2 is damaged"):
                await first.reload("2")
            assert "2 is to be served and cannot be: /bundles/2 is damaged" in caplog.messages
            with pytest.raises(ModelVersionNotFound):
                await first.reload("3")
            assert versions(first, second) == [["1"], ["1"]]
            assert deployment.store.written[ROLLOUT_RECORD] == note
            two.bad = set()
            await first.reload("2")
            assert versions(first, second) == [["2"], ["2"]]

    with caplog.at_level(logging.INFO, "service.core.rollout.manager"):
        run(scenario)


def test_a_worker_that_does_not_load_in_time_stops_the_exchange_and_is_named() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        one, two = FakeBundles("1"), FakeBundles("1")
        async with deployment.worker(one, load=0.5) as first, deployment.worker(two) as second:
            for bundles in (one, two):
                bundles.publish("2")
            two.gate.clear()
            with pytest.raises(RolloutRefused, match=r"not loaded in time by worker \d+"):
                await first.reload(None)
            two.gate.set()
            await asyncio.sleep(0.3)
            assert versions(first, second) == [["1"], ["1"]]
            assert deployment.rollout.coming is None

    run(scenario)


def test_a_worker_that_has_not_switched_is_named_and_follows() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        async with (
            deployment.worker(FakeBundles("1", "2"), switch=0.4) as first,
            deployment.worker(FakeBundles("1", "2")) as second,
        ):
            await first.reload("1")
            ready = asyncio.create_task(first.reload("2"))
            await until(lambda: "2" in second._reconciler._engines)
            # It has said that it holds the model, and is then held up before it hears of the decision.
            await until(
                lambda: (
                    '"holds": ["1", "2"], "serves": "1"'
                    in deployment.store.written[f"worker:{second._membership.name}"]
                )
            )
            deployment.killed(second)
            with pytest.raises(RolloutUnfinished, match=second._membership.name):
                await ready
            assert versions(first, second) == [["2"], ["1"]]
            await second._reconciler.start()
            assert versions(first, second) == [["2"], ["2"]]

    run(scenario)


def test_a_reload_that_is_killed_half_way_leaves_what_was_served() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        bundles, slow = FakeBundles("1", "2"), FakeBundles("1", "2")
        async with deployment.worker(bundles) as first, deployment.worker(slow) as second:
            await first.reload("1")
            slow.gate.clear()
            reload = asyncio.create_task(first.reload("2"))
            await until(lambda: deployment.rollout.coming is not None)
            deployment.killed(first)
            deployment.killed(second)
            at_the_kill = deployment.store.written[ROLLOUT_RECORD]
            reload.cancel()
            await asyncio.sleep(0.05)
            deployment.store.written[ROLLOUT_RECORD] = at_the_kill  # a killed process takes nothing back
            async with deployment.worker(FakeBundles("1", "2")) as third:
                assert versions(third) == [["1"]]
                # Once its author is known to be dead what was coming is given up, and the next one is served.
                assert (await third.reload("2")).version == "2"
                assert deployment.rollout == Rollout(Serving("2"), True, ("00002", "2"))
            async with deployment.worker(FakeBundles("1", "2", "3")) as fourth:
                assert versions(fourth) == [["2"]]  # what the note names, not the newest

    run(scenario)


@pytest.mark.parametrize("other", ["reload", "test"])
def test_what_another_worker_decides_while_a_bundle_loads_stands(other: str) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        one, two = FakeBundles("1", "2", "3"), FakeBundles("1", "2", "3")
        async with deployment.worker(one) as first, deployment.worker(two) as second:
            await first.reload("1")
            one.gate.clear()
            one.gated = "2"
            late = asyncio.create_task(first.reload("2"))
            await until(lambda: "2" in one.loads)
            await (second.reload("3") if other == "reload" else second.begin_test("3", 0.5))
            await first._reconciler.next_look()
            note, serves = deployment.store.written[ROLLOUT_RECORD], versions(first, second)
            one.gate.set()
            with pytest.raises(RolloutRefused, match="decided otherwise meanwhile"):
                await late
            await first._reconciler.next_look()
            assert deployment.store.written[ROLLOUT_RECORD] == note
            assert versions(first, second) == serves == ([["3"]] * 2 if other == "reload" else [["1", "3"]] * 2)

    run(scenario)


@pytest.mark.parametrize("moment", ["coming", "decided"])
def test_an_exchange_that_lost_the_store_is_taken_back_while_its_author_lives(moment: str) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        one, two = FakeBundles("1", "2"), FakeBundles("1", "2")
        async with deployment.worker(one, load=1.0) as first, deployment.worker(two) as second:
            await first.reload("1")
            if moment == "coming":  # it is written, which nobody hears
                deployment.store.lose = lambda rollout: rollout.coming is not None
                with pytest.raises(StoreUnavailable):
                    await first.reload("2")
            else:  # it is written, and then can be neither decided nor taken back
                two.gate.clear()
                late = asyncio.create_task(first.reload("2"))
                await until(lambda: deployment.rollout.coming is not None)
                deployment.store.down = True
                with pytest.raises(ServiceError):
                    await late
                two.gate.set()
            assert deployment.rollout.coming == Serving("2")
            deployment.store.lose = lambda rollout: False
            deployment.store.down = False
            await until(lambda: deployment.rollout.coming is None)
            assert versions(first, second) == [["1"], ["1"]]
            assert (await second.reload("2")).version == "2"
            assert versions(first, second) == [["2"], ["2"]]

    run(scenario)


def test_a_watch_takes_over_what_is_published_and_does_not_undo_a_return() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        bundles = FakeBundles("1"), FakeBundles("1")

        def publish(version: str, bad: bool = False) -> None:
            for each in bundles:
                each.bad = {version} if bad else set()
                each.publish(version)

        async with (
            deployment.worker(bundles[0], watch=True) as first,
            deployment.worker(bundles[1], watch=True) as second,
        ):
            publish("2")
            await until(lambda: versions(first, second) == [["2"], ["2"]])
            await second.reload("1")
            await asyncio.sleep(0.5)
            assert versions(first, second) == [["1"], ["1"]]
            publish("3", bad=True)
            await until(lambda: any("3" in each.loads for each in bundles))
            await asyncio.sleep(0.5)
            assert sum(each.loads.count("3") for each in bundles) == 1  # it is tried once, by one worker
            publish("4")
            await until(lambda: versions(first, second) == [["4"], ["4"]])
            assert deployment.rollout == Rollout(Serving("4"), False, ("00004", "4"))

    run(scenario)
