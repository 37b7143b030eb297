"""Models that the catalogue learns of."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

from service.core.jobs.catalogued_models import CataloguedBundles
from service.core.ports import Engine, ModelVersion
from tests.core.fakes import CATALOGUE, FakeEngine


class Registry:
    async def published(self) -> list[ModelVersion]:
        return [ModelVersion("v1", ("", "v1"))]

    async def changed(self) -> bool:
        return True

    async def load(self, version: str) -> Engine:
        return FakeEngine(version)


class Copy:
    def __init__(self) -> None:
        self.models: dict[str, Sequence[str]] = {}

    async def add_model(self, version: str, item_ids: Sequence[str]) -> None:
        self.models[version] = item_ids

    def remove_model(self, version: str) -> None:
        del self.models[version]


class Vectors:
    async def add(self, engine: Engine) -> None:
        pass

    def remove(self, version: str) -> None:
        pass

    def is_complete(self, engine: Engine) -> bool:
        return True


async def _finalized() -> None:
    gc.collect()
    await asyncio.sleep(0)


def test_model_is_known_as_long_as_an_engine_of_it_exists() -> None:
    async def scenario() -> None:
        copy = Copy()
        bundles = CataloguedBundles(Registry(), copy, Vectors())
        engines = [await bundles.load(version) for version in ("v1", "v2", "v1")]
        assert copy.models == {"v1": CATALOGUE, "v2": CATALOGUE}
        del engines[0]
        await _finalized()
        assert set(copy.models) == {"v1", "v2"}
        engines.clear()
        await _finalized()
        assert not copy.models

    asyncio.run(scenario())


def test_registry_is_passed_through() -> None:
    bundles = CataloguedBundles(Registry(), Copy(), Vectors())
    assert asyncio.run(bundles.changed())
    assert [found.version for found in asyncio.run(bundles.published())] == ["v1"]


def test_engine_that_ends_after_the_loop_is_harmless() -> None:
    engine = asyncio.run(CataloguedBundles(Registry(), Copy(), Vectors()).load("v1"))
    del engine
    gc.collect()
