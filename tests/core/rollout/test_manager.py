"""Tests of reloads, A/B tests and the watch, with several workers."""

from __future__ import annotations

import asyncio

import pytest

from service.core.errors import ModelVersionNotFound, RolloutRefused
from service.core.rollout.desired_state import DesiredState, Serving
from service.core.rollout.manager import RolloutManager
from service.core.rollout.startup import choose_startup_version
from tests.core.rollout.worker_harness import FakeBundles, FakeDeployment, run, until, versions


def test_reload_and_rollback_reach_every_worker() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        one, two = FakeBundles("1"), FakeBundles("1")
        async with deployment.worker(one) as first, deployment.worker(two) as second:
            assert versions(first, second) == [["1"], ["1"]]
            for bundles in (one, two):
                bundles.publish("2")
            assert (await first.reload(None)).version == "2"
            assert versions(first, second) == [["2"], ["2"]]  # all have switched before the result returns
            assert (await second.reload("1")).version == "1"
            assert versions(first, second) == [["1"], ["1"]]
            assert deployment.desired == DesiredState(Serving("1"), True, ("00002", "2"))
            assert sorted(one.loads) == sorted(two.loads) == ["1", "1", "2"]
        assert not [name for name in deployment.store.written if name.startswith("worker:")]

    run(scenario)


def test_ab_test_assigns_users_alike_in_every_worker_and_after_a_restart() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        users = [f"user {n}" for n in range(2000)]

        def tested(models: RolloutManager) -> set[str]:
            return {user for user in users if models.for_user(user).version == "2"}

        bundles = FakeBundles("1", "2", "3")
        async with deployment.worker(bundles) as first, deployment.worker(bundles) as second:
            await first.reload("1")
            assert not tested(first)
            await first.begin_test("2", 0.25)
            assert versions(first, second) == [["1", "2"]] * 2
            assert (first.share, second.share, first.live.version) == (0.25, 0.25, "1")
            quarter = tested(first)
            assert tested(second) == quarter
            assert 400 < len(quarter) < 600
            for refused in (first.reload("3"), first.begin_test("3", 0.5), first.begin_test("1", 0.5)):
                with pytest.raises(RolloutRefused):
                    await refused
            await second.begin_test("2", 0.5)
            half = tested(first)
            assert quarter < half  # a larger share removes no user
            assert tested(second) == half
        await choose_startup_version(deployment.store, bundles, watch=True)
        async with deployment.worker(bundles) as third, deployment.worker(bundles) as fourth:
            assert tested(third) == tested(fourth) == half
            with pytest.raises(ModelVersionNotFound):
                await third.end_test("3")
            assert (await third.end_test("2")).version == "2"
            assert versions(third, fourth) == [["2"], ["2"]]
            assert third.share == 0.0
            with pytest.raises(RolloutRefused):
                await third.end_test("2")
            await third.begin_test("1", 0.5)
            assert len({user for user in users if third.for_user(user).version == "1"} ^ half) > 500  # other users
            assert (await fourth.end_test("2")).version == "2"

    run(scenario)


def test_watch_rolls_out_new_bundles_and_keeps_a_rollback() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        bundles = FakeBundles("1"), FakeBundles("1")

        def publish(version: str, bad: bool = False) -> None:
            for registry in bundles:
                registry.bad = {version} if bad else set()
                registry.publish(version)

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
            await until(lambda: any("3" in registry.loads for registry in bundles))
            await asyncio.sleep(0.5)
            assert sum(registry.loads.count("3") for registry in bundles) == 1  # one worker tries once
            publish("4")
            await until(lambda: versions(first, second) == [["4"], ["4"]])
            assert deployment.desired == DesiredState(Serving("4"), False, ("00004", "4"))

    run(scenario)
