"""A test splits the users: alike everywhere, after a restart, and as it did in earlier releases."""

from __future__ import annotations

import pytest

from service.core.errors import ModelVersionNotFound, RolloutRefused
from service.core.rollout.desired_state import Split
from service.core.rollout.manager import RolloutManager
from service.core.rollout.startup import choose_startup_version
from tests.core.rollout.worker_harness import FakeBundles, FakeDeployment, run, versions


def test_a_test_splits_the_users_alike_in_every_worker_and_after_a_restart() -> None:
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
            assert quarter < half  # who was in it stays in it
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


def test_the_split_is_what_it_was_when_this_was_written() -> None:
    """Users that were in a test yesterday are in it under a newer release, too."""
    split = Split("2", 0.5, "0123456789abcdef")
    assert [user for user in map(str, range(16)) if split.takes(user)] == [
        "0",
        "2",
        "3",
        "6",
        "8",
        "9",
        "10",
        "12",
        "13",
        "14",
    ]
    assert not any(Split("2", 1e-12, "x").takes(str(n)) for n in range(1000))
    assert Split("2", 0.5, "x").takes("\ud800") in (True, False)
