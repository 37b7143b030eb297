"""Deletes the vectors of model versions that cannot be loaded any more."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection

from service.core.errors import BundleRefusedError
from service.core.new_items.vector_store import ItemVectorStore
from service.core.periodic_task import PeriodicTask

_log = logging.getLogger(__name__)

CLEANUP_SECONDS = 3600.0


class VectorCleanup:
    """Looks for lists without a model once an hour.

    A list is deleted if its version was in no registry twice in a row. So a bundle may be replaced meanwhile, or the
    registry's folder be mounted late.
    """

    def __init__(
        self,
        store: ItemVectorStore,
        loadable: Callable[[], Awaitable[Collection[str]]],
        loaded: Callable[[], Collection[str]],
    ) -> None:
        """Create the job without starting it.

        Args:
            store: The lists.
            loadable: Returns the versions in the model registry.
            loaded: Returns the versions that this worker has loaded.
        """
        self._store = store
        self._loadable = loadable
        self._loaded = loaded
        self._missing: set[str] = set()
        self._task = PeriodicTask(
            self.step,
            _log,
            "cannot delete vectors of models that are gone",
            retry_seconds=CLEANUP_SECONDS,
            first_delay_seconds=CLEANUP_SECONDS,
        )

    def start(self) -> None:
        """Run in the background."""
        self._task.start()

    async def close(self) -> None:
        """Stop."""
        await self._task.close()

    async def step(self) -> float:
        """Delete lists; return the pause after it. Raises `StoreUnavailable`."""
        try:
            kept = {*await self._loadable(), *self._loaded()}
        except BundleRefusedError as error:
            _log.warning("cannot read the model registry; keeping all vectors", extra={"reason": error.for_log})
            return CLEANUP_SECONDS
        missing = {version for version in await self._store.versions() if version not in kept}
        for version in sorted(missing & self._missing):
            await self._store.forget(version)
            _log.info("deleted the vectors of a model that is gone", extra={"model": version})
        self._missing = missing
        return CLEANUP_SECONDS
