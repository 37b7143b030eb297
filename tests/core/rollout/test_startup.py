"""What the service serves when it starts."""

from __future__ import annotations

import pytest

from service.core.ports import BundleRefusedError
from service.core.rollout.desired_state import Rollout, Serving
from service.core.rollout.startup import choose_startup_version
from tests.core.rollout.worker_harness import FakeBundles, FakeDeployment, run


def test_a_start_takes_the_newest_unless_somebody_has_chosen() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        bundles = FakeBundles("1")
        await choose_startup_version(deployment.store, bundles, watch=False)
        bundles.publish("2")
        await choose_startup_version(deployment.store, bundles, watch=False)
        assert deployment.rollout == Rollout(Serving("2"), False, ("00002", "2"))
        async with deployment.worker(bundles) as models:
            await models.reload("1")
        await choose_startup_version(deployment.store, bundles, watch=True)
        assert deployment.rollout.serving == Serving("1")  # nothing was published since
        bundles.publish("3")
        await choose_startup_version(deployment.store, bundles, watch=False)
        assert deployment.rollout.serving == Serving("1")
        await choose_startup_version(deployment.store, bundles, watch=True)
        assert deployment.rollout.serving == Serving("3")
        bundles.publish("4")
        bundles.bad = {"4"}
        with pytest.raises(BundleRefusedError):
            await choose_startup_version(deployment.store, bundles, watch=True)
        assert deployment.rollout.serving == Serving("3")

    run(scenario)


def test_a_start_says_once_that_the_newest_is_damaged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        bundles = FakeBundles("1")
        await choose_startup_version(deployment.store, bundles, watch=False)
        bundles.bad = {"1"}
        with pytest.raises(BundleRefusedError):
            await choose_startup_version(deployment.store, bundles, watch=False)
        assert bundles.loads == ["1", "1"]
        assert caplog.records == []

    run(scenario)
