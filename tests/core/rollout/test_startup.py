"""Tests of the model version that a start of the service chooses."""

from __future__ import annotations

import pytest

from service.core.errors import BundleRefusedError
from service.core.rollout.desired_state import DesiredState, Serving
from service.core.rollout.startup import choose_startup_version
from tests.core.rollout.worker_harness import FakeBundles, FakeDeployment, run


def test_start_serves_the_newest_unless_a_version_was_chosen() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        bundles = FakeBundles("1")
        await choose_startup_version(deployment.store, bundles, watch=False)
        bundles.publish("2")
        await choose_startup_version(deployment.store, bundles, watch=False)
        assert deployment.desired == DesiredState(Serving("2"), False, ("00002", "2"))
        async with deployment.worker(bundles) as models:
            await models.reload("1")
        await choose_startup_version(deployment.store, bundles, watch=True)
        assert deployment.desired.serving == Serving("1")  # nothing has been published since
        bundles.publish("3")
        await choose_startup_version(deployment.store, bundles, watch=False)
        assert deployment.desired.serving == Serving("1")
        await choose_startup_version(deployment.store, bundles, watch=True)
        assert deployment.desired.serving == Serving("3")
        bundles.publish("4")
        bundles.bad = {"4"}
        with pytest.raises(BundleRefusedError):
            await choose_startup_version(deployment.store, bundles, watch=True)
        assert deployment.desired.serving == Serving("3")

    run(scenario)


def test_damaged_newest_bundle_is_loaded_once_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        bundles = FakeBundles("1")
        await choose_startup_version(deployment.store, bundles, watch=False)
        bundles.bad = {"1"}
        with pytest.raises(BundleRefusedError):
            await choose_startup_version(deployment.store, bundles, watch=False)
        assert bundles.loads == ["1", "1"]
        assert caplog.records == []

    run(scenario)


def test_version_that_was_checked_is_not_loaded_again() -> None:
    async def scenario(deployment: FakeDeployment) -> None:
        bundles = FakeBundles("1")
        await choose_startup_version(deployment.store, bundles, watch=False, checked="1")
        assert (bundles.loads, deployment.desired.serving) == ([], Serving("1"))
        bundles.publish("2")
        await choose_startup_version(deployment.store, bundles, watch=False, checked="1")
        assert (bundles.loads, deployment.desired.serving) == (["2"], Serving("2"))

    run(scenario)
