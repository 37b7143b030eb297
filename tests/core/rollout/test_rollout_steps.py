"""One rollout attempt: all workers change together, or none does."""

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
from service.core.ports import Engine
from service.core.rollout.desired_state import ROLLOUT_RECORD, DesiredState, Serving
from tests.core.rollout.worker_harness import FakeBundles, FakeDeployment, logged, run, until, versions


def test_damaged_bundle_changes_no_worker_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        one, two = FakeBundles("1", "2"), FakeBundles("1", "2")
        async with deployment.worker(one) as first, deployment.worker(two) as second:
            await first.reload("1")
            record = deployment.store.written[ROLLOUT_RECORD]
            caplog.clear()
            one.bad = {"2"}
            with pytest.raises(RolloutRefused) as refused:
                await first.reload("2")
            assert (
                refused.value.message == "rollout refused; live version unchanged: 2 is damaged"
            )  # its path is for the log alone
            assert logged(caplog) == [("rollout refused; live version unchanged", "/bundles/2 is damaged")]
            assert "2" not in two.loads[1:]  # no other worker has tried to load it
            one.bad, two.bad = set(), {"2"}
            with pytest.raises(RolloutRefused, match=r"worker \d+ refuses: 2 is damaged"):
                await first.reload("2")
            assert ("cannot load a model", "/bundles/2 is damaged") in logged(caplog)
            with pytest.raises(ModelVersionNotFound):
                await first.reload("3")
            assert versions(first, second) == [["1"], ["1"]]
            assert deployment.store.written[ROLLOUT_RECORD] == record
            two.bad = set()
            await first.reload("2")
            assert versions(first, second) == [["2"], ["2"]]

    with caplog.at_level(logging.INFO, "service.core.rollout.manager"):
        run(scenario)


def test_worker_that_loads_too_late_is_named_and_the_live_model_stays() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        one, two = FakeBundles("1"), FakeBundles("1")
        async with deployment.worker(one, load_seconds=0.5) as first, deployment.worker(two) as second:
            for bundles in (one, two):
                bundles.publish("2")
            two.gate.clear()
            with pytest.raises(RolloutRefused, match=r"not loaded in time by worker \d+"):
                await first.reload(None)
            two.gate.set()
            await asyncio.sleep(0.3)
            assert versions(first, second) == [["1"], ["1"]]
            assert deployment.desired.coming is None

    run(scenario)


def test_worker_that_switches_too_late_is_named_and_switches_later() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        async with (
            deployment.worker(FakeBundles("1", "2"), switch_seconds=0.4) as first,
            deployment.worker(FakeBundles("1", "2")) as second,
        ):
            await first.reload("1")
            reload = asyncio.create_task(first.reload("2"))
            await until(lambda: "2" in second._reconciler._engines.versions)
            # The worker stops after it has reported the model as loaded, and before it reads the decision.
            await until(
                lambda: (
                    '"loaded": ["1", "2"], "serving": "1"'
                    in deployment.store.written[f"worker:{second._membership.worker}"]
                )
            )
            deployment.kill(second)
            with pytest.raises(RolloutUnfinished, match=second._membership.worker):
                await reload
            assert versions(first, second) == [["2"], ["1"]]
            await second._reconciler.start()
            assert versions(first, second) == [["2"], ["2"]]

    run(scenario)


@pytest.mark.parametrize("lacking", ["the author", "another worker"])
def test_worker_switches_when_its_model_has_the_vectors_of_all_new_items(lacking: str) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        incomplete = {"2"}

        def is_complete(engine: Engine) -> bool:
            return engine.version not in incomplete

        conditions = [is_complete, lambda engine: True][:: 1 if lacking == "the author" else -1]
        async with (
            deployment.worker(FakeBundles("1", "2"), is_complete=conditions[0]) as first,
            deployment.worker(FakeBundles("1", "2"), is_complete=conditions[1]) as second,
        ):
            await first.reload("1")
            workers = [first, second] if lacking == "the author" else [second, first]
            reload = asyncio.create_task(first.reload("2"))
            await until(lambda: versions(workers[1]) == [["2"]])
            for _ in range(3):
                await workers[0]._reconciler.wait_for_next_pass()
            assert versions(workers[0]) == [["1"]]
            assert not reload.done()
            incomplete.clear()
            assert (await reload).version == "2"
            assert versions(first, second) == [["2"], ["2"]]

    run(scenario)


def test_rollout_whose_author_lacks_vectors_says_that_it_is_unfinished() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        incomplete = {"2"}
        async with deployment.worker(
            FakeBundles("1", "2"), switch_seconds=0.2, is_complete=lambda engine: engine.version not in incomplete
        ) as models:
            await models.reload("1")
            with pytest.raises(RolloutUnfinished, match=models._membership.worker):
                await models.reload("2")
            assert versions(models) == [["1"]]
            incomplete.clear()
            await until(lambda: versions(models) == [["2"]])

    run(scenario)


def test_killed_author_leaves_the_live_model_and_the_rollout_is_abandoned() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        bundles, slow = FakeBundles("1", "2"), FakeBundles("1", "2")
        async with deployment.worker(bundles) as first, deployment.worker(slow) as second:
            await first.reload("1")
            slow.gate.clear()
            reload = asyncio.create_task(first.reload("2"))
            await until(lambda: deployment.desired.coming is not None)
            deployment.kill(first)
            deployment.kill(second)
            record = deployment.store.written[ROLLOUT_RECORD]
            reload.cancel()
            await asyncio.sleep(0.05)
            deployment.store.written[ROLLOUT_RECORD] = record  # a killed process withdraws nothing
            async with deployment.worker(FakeBundles("1", "2")) as third:
                assert versions(third) == [["1"]]
                # The rollout is abandoned once its author counts as dead; then the next one can begin.
                assert (await third.reload("2")).version == "2"
                assert deployment.desired == DesiredState(Serving("2"), True, ("00002", "2"))
            async with deployment.worker(FakeBundles("1", "2", "3")) as fourth:
                assert versions(fourth) == [["2"]]  # what the record names, not the newest

    run(scenario)


@pytest.mark.parametrize("other", ["reload", "test"])
def test_decision_of_another_worker_while_a_bundle_loads_refuses_this_attempt(other: str) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        one, two = FakeBundles("1", "2", "3"), FakeBundles("1", "2", "3")
        async with deployment.worker(one) as first, deployment.worker(two) as second:
            await first.reload("1")
            one.gate.clear()
            one.gated = "2"
            late = asyncio.create_task(first.reload("2"))
            await until(lambda: "2" in one.loads)
            await (second.reload("3") if other == "reload" else second.begin_test("3", 0.5))
            await first._reconciler.wait_for_next_pass()
            record, served = deployment.store.written[ROLLOUT_RECORD], versions(first, second)
            one.gate.set()
            with pytest.raises(RolloutRefused, match="another worker changed the rollout record"):
                await late
            await first._reconciler.wait_for_next_pass()
            assert deployment.store.written[ROLLOUT_RECORD] == record
            assert versions(first, second) == served == ([["3"]] * 2 if other == "reload" else [["1", "3"]] * 2)

    run(scenario)


@pytest.mark.parametrize("step", ["announce", "commit"])
def test_rollout_that_lost_the_store_is_abandoned_while_its_author_lives(step: str) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        one, two = FakeBundles("1", "2"), FakeBundles("1", "2")
        async with deployment.worker(one, load_seconds=1.0) as first, deployment.worker(two) as second:
            await first.reload("1")
            if step == "announce":  # the record is written, and the reply is lost
                deployment.store.loses_reply_to = lambda desired: desired.coming is not None
                with pytest.raises(StoreUnavailable):
                    await first.reload("2")
            else:  # the record is written, and can then be neither committed nor withdrawn
                two.gate.clear()
                reload = asyncio.create_task(first.reload("2"))
                await until(lambda: deployment.desired.coming is not None)
                deployment.store.down = True
                with pytest.raises(ServiceError):
                    await reload
                two.gate.set()
            assert deployment.desired.coming == Serving("2")
            deployment.store.loses_reply_to = lambda desired: False
            deployment.store.down = False
            await until(lambda: deployment.desired.coming is None)
            assert versions(first, second) == [["1"], ["1"]]
            assert (await second.reload("2")).version == "2"
            assert versions(first, second) == [["2"], ["2"]]

    run(scenario)
