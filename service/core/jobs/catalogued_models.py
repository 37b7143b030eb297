"""Models whose items the catalogue knows."""

from __future__ import annotations

import asyncio
import weakref
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Protocol

from service.core.ports import Bundles, Engine, ModelVersion


class CatalogueModels(Protocol):
    """Part of the worker's copy of the catalogue that this needs."""

    async def add_model(self, version: str, item_ids: Sequence[str]) -> None:
        """Map the rows 1..V of a model, which are these items."""
        ...

    def remove_model(self, version: str) -> None:
        """Forget a model and its filter bitmaps."""
        ...


class NewItemModels(Protocol):
    """Part of `core.jobs.new_items.vector_sync.VectorSync` that this needs."""

    async def add(self, engine: Engine) -> None:
        """Extend a loaded engine by new items, if it has an encoder."""
        ...

    def remove(self, version: str) -> None:
        """Forget a model."""
        ...

    def is_complete(self, engine: Engine) -> bool:
        """Return whether each new item of the copy has its vector."""
        ...


class CataloguedBundles:
    """Model registry that tells the catalogue each model it loads.

    A model with a content encoder is extended by new items too. The catalogue knows a model as long as its engine
    exists: requests may use one that is not served any more.
    """

    def __init__(self, bundles: Bundles, catalogue: CatalogueModels, vectors: NewItemModels) -> None:
        self._bundles = bundles
        self._catalogue = catalogue
        self._vectors = vectors
        self._engines: Counter[str] = Counter()

    async def published(self) -> list[ModelVersion]:
        """List the versions; see core.ports.Bundles."""
        return await self._bundles.published()

    async def changed(self) -> bool:
        """Return whether the registry may have changed; see core.ports.Bundles."""
        return await self._bundles.changed()

    async def loadable(self) -> Collection[str]:
        """Return all versions; see core.ports.Bundles."""
        return await self._bundles.loadable()

    async def load(self, version: str) -> Engine:
        """Load a version, map its items and add new ones; see core.ports.Bundles.

        Raises `StoreUnavailable` if the vectors of new items cannot be read.
        """
        engine = await self._bundles.load(version)
        loop = asyncio.get_running_loop()
        self._engines[version] += 1
        weakref.finalize(engine, self._released, loop, version).atexit = False
        await self._catalogue.add_model(version, engine.item_ids)
        await self._vectors.add(engine)
        return engine

    def is_complete(self, engine: Engine) -> bool:
        """Return whether the engine may be switched to."""
        return self._vectors.is_complete(engine)

    def _released(self, loop: asyncio.AbstractEventLoop, version: str) -> None:
        """Forget the model, on the event loop whatever the thread."""
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._forget, version)

    def _forget(self, version: str) -> None:
        self._engines[version] -= 1
        if not self._engines[version]:
            del self._engines[version]
            self._catalogue.remove_model(version)
            self._vectors.remove(version)
