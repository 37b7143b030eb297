"""Tests of the engines that one worker has loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.core.errors import BundleRefusedError
from service.core.rollout.loaded_engines import LoadedEngines
from tests.core.rollout.worker_harness import FakeBundles


def run(scenario: Callable[[FakeBundles, LoadedEngines], Awaitable[None]], *, retry_seconds: float = 30.0) -> None:
    async def main() -> None:
        bundles = FakeBundles("1", "2")
        await scenario(bundles, LoadedEngines(bundles, retry_seconds))

    asyncio.run(main())


def test_loaded_version_is_not_loaded_again() -> None:
    async def scenario(bundles: FakeBundles, engines: LoadedEngines) -> None:
        engines.load_in_background("1", retry=False)
        await engines.load("1")
        engines.load_in_background("1", retry=False)
        assert not await engines.wait_for_background_load()
        assert bundles.loads == ["1"]
        assert [engine.version for engine in engines.get_all(["1"])] == ["1"]

    run(scenario)


def test_only_one_bundle_loads_in_the_background() -> None:
    async def scenario(bundles: FakeBundles, engines: LoadedEngines) -> None:
        engines.load_in_background("1", retry=False)
        engines.load_in_background("2", retry=False)
        assert await engines.wait_for_background_load()
        assert engines.versions == ("1",)
        assert not engines.has_all(["1", "2"])

    run(scenario)


def test_refused_version_is_skipped_until_refusals_are_forgotten() -> None:
    async def scenario(bundles: FakeBundles, engines: LoadedEngines) -> None:
        bundles.bad = {"2"}
        for _ in range(2):
            engines.load_in_background("2", retry=True)
            await engines.wait_for_background_load()
        assert bundles.loads == ["2"]
        assert engines.refusals == {"2": "2 is damaged"}
        engines.forget_refusals()
        engines.load_in_background("2", retry=False)
        await engines.wait_for_background_load()
        assert bundles.loads == ["2", "2"]

    run(scenario)


@pytest.mark.parametrize(("retry", "loads"), [(True, 2), (False, 1)])
def test_refused_version_is_retried_after_the_pause_if_asked(retry: bool, loads: int) -> None:
    async def scenario(bundles: FakeBundles, engines: LoadedEngines) -> None:
        bundles.bad = {"2"}
        for _ in range(2):
            engines.load_in_background("2", retry=retry)
            await engines.wait_for_background_load()
        assert len(bundles.loads) == loads

    run(scenario, retry_seconds=0.0)


def test_awaited_load_raises_the_refusal() -> None:
    async def scenario(bundles: FakeBundles, engines: LoadedEngines) -> None:
        bundles.bad = {"2"}
        with pytest.raises(BundleRefusedError):
            await engines.load("2")

    run(scenario)


def test_closing_cancels_the_background_load() -> None:
    async def scenario(bundles: FakeBundles, engines: LoadedEngines) -> None:
        bundles.gate.clear()
        engines.load_in_background("1", retry=False)
        await asyncio.sleep(0)
        await engines.close()
        assert engines.versions == ()

    run(scenario)
