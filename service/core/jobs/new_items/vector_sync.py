"""Keeps one worker's engines extended by the vectors of new items.

Every worker follows the list of each model version that it has loaded. It also computes the vectors of items that the
model does not know, from the items' content, and appends them: whoever is first decides an item's vector.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol

from service.core.errors import StoreUnavailable
from service.core.jobs.low_priority_thread import lower_thread_priority
from service.core.jobs.new_items.followed_model import CHUNK, CopiedItems, ExtendedRows, FollowedModel, ItemRecords
from service.core.jobs.new_items.vector_cleanup import VectorCleanup
from service.core.log_throttle import ThrottledLogger
from service.core.new_items.held_vectors import HeldVectors
from service.core.new_items.vector_mark import VectorMark
from service.core.new_items.vector_store import ItemVectorStore
from service.core.periodic_task import PeriodicTask
from service.core.ports import Engine
from service.core.throttle import throttle

_log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
MAX_FRACTION = 0.5  # of the time, for computing many vectors beside requests


class VectorMeter(Protocol):
    """Metrics of the vectors of new items."""

    def item_vectors(self, held: Mapping[str, int], waiting: int, age_seconds: float) -> None:
        """Record what this worker holds.

        Args:
            held: Number of vectors by model version.
            waiting: Items that may need a vector.
            age_seconds: Time since all lists were last read.
        """
        ...


class NewItemCatalogue(ExtendedRows, Protocol):
    """Part of `core.catalogue.catalogue.Catalogue` that this needs."""

    @property
    def items(self) -> CopiedItems:
        """The items, with a log of their changes."""
        ...


class VectorSync:
    """Follows the lists of all loaded models that have a content encoder.

    Attributes:
        lists: The vectors by model version.
    """

    def __init__(
        self,
        store: ItemVectorStore,
        records: ItemRecords,
        catalogue: NewItemCatalogue,
        meter: VectorMeter,
        *,
        poll_seconds: float = POLL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the job without starting it."""
        self._store = store
        self._records = records
        self._catalogue = catalogue
        self._meter = meter
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._current_at = clock()
        self._models: dict[str, FollowedModel] = {}
        self.lists: dict[str, HeldVectors] = {}
        self._executor = ThreadPoolExecutor(1, "new-items", lower_thread_priority)
        self._outages = ThrottledLogger(_log)
        self._cleanup: VectorCleanup | None = None
        self._task = PeriodicTask(
            self.poll,
            _log,
            "cannot follow the vectors of new items; answering with those that are held",
            retry_seconds=poll_seconds,
            first_delay_seconds=poll_seconds,
        )

    async def start(self, loadable: Callable[[], Awaitable[Collection[str]]] | None = None) -> None:
        """Give each new item of the catalogue its vector, then follow.

        `loadable` returns the versions of the model registry. Lists of other versions are deleted after a while.
        Raises `StoreUnavailable`.
        """
        for model in list(self._models.values()):
            model.must_scan = True  # the catalogue may have been restored from its local snapshot
            await self._complete(model, max_fraction=1.0)
        self._task.start()
        if loadable is not None:
            self._cleanup = VectorCleanup(self._store, loadable, lambda: list(self._models))
            self._cleanup.start()

    async def close(self) -> None:
        """Stop following."""
        await self._task.close()
        if self._cleanup is not None:
            await self._cleanup.close()
        await asyncio.to_thread(self._executor.shutdown)

    async def add(self, engine: Engine) -> None:
        """Extend a loaded engine, and follow its list from now on.

        Returns when each new item of the worker's copy has its vector. Raises `StoreUnavailable`.
        """
        if engine.encoder is None:
            return
        items = self._catalogue.items
        model = FollowedModel(engine, self._store, self._records, items, self._catalogue, self._in_thread)
        self.remove(engine.version)  # of an engine that only finishes its requests
        await self._complete(model, MAX_FRACTION)
        self._models[engine.version], self.lists[engine.version] = model, model.held

    def remove(self, version: str) -> None:
        """Forget a model."""
        self._models.pop(version, None)
        self.lists.pop(version, None)

    def is_complete(self, engine: Engine) -> bool:
        """Return whether each new item of the worker's copy has its vector."""
        model = self._models.get(engine.version)
        return model is None or model.is_complete()

    def held(self, engine: Engine) -> HeldVectors | None:
        """Return the vectors of a model with an encoder, else None."""
        model = self._models.get(engine.version)
        return None if model is None else model.held

    async def prepare(
        self, engine: Engine, mark: VectorMark | None, item_ids: Sequence[str]
    ) -> Literal["usable", "outdated", "undone"]:
        """Catch up if needed; return whether the snapshot is usable.

        An outdated snapshot has skipped an item that has a vector now, or is beyond what this worker can read. An
        undone one has entries that a failover has undone. Both are replaced by a replay of the log.

        Args:
            engine: The model.
            mark: Mark of the snapshot, if there is one.
            item_ids: The items to replay.
        """
        model = self._models[engine.version]
        held, is_current = model.held, True
        learnable = [item_id for item_id in item_ids if not engine.knows(item_id) and model.may_learn(item_id)]
        if learnable or (mark is not None and not held.holds(mark.position)):
            is_current = await self._catch_up(model, mark, learnable)
        if mark is None:
            return "usable"
        if not held.holds(mark.position):
            return "undone" if is_current else "outdated"
        return "outdated" if held.adds_to(mark) else "usable"

    async def poll(self) -> float:
        """Read the lists, and compute some vectors; return the pause after it.

        Raises `StoreUnavailable` if a list cannot be read; the others are up to date then.
        """
        began, started_at = self._clock(), time.monotonic()
        failure, is_busy = None, False
        for model in list(self._models.values()):
            try:
                async with model.lock:
                    await model.scan()
                    model.collect()
                    await model.follow()
                    if model.waiting:
                        await model.compute_next()
                is_busy |= bool(model.waiting)
            except StoreUnavailable as error:
                failure = error
        if failure is None:
            self._current_at = began
        self._report()
        if failure is not None:
            raise failure
        if is_busy:
            await throttle(started_at, MAX_FRACTION)
        return 0.0 if is_busy else self._poll_seconds

    async def _complete(self, model: FollowedModel, max_fraction: float) -> None:
        """Compute all that waits now; later items are for the next polls."""
        began = self._clock()
        async with model.lock:
            await model.follow()
            await model.scan()
            model.collect()
            count, collection = len(model.waiting), model.collection
            while model.waits_for(collection):
                started_at = time.monotonic()
                await model.scan()
                await model.compute_next()
                await throttle(started_at, max_fraction)
        fields = {"model": model.version, "vectors": model.held.position.revision, "items_without": count}
        _log.info("read the vectors of new items", extra={**fields, "seconds": round(self._clock() - began, 3)})

    async def _catch_up(self, model: FollowedModel, mark: VectorMark | None, item_ids: Collection[str]) -> bool:
        """Read the list, and compute the vectors of some items.

        Returns whether the store has answered.
        """
        try:
            async with model.lock:
                wanted = [item_id for item_id in item_ids if item_id not in model.held.numbers]
                if wanted or (mark is not None and not model.held.holds(mark.position)):
                    await model.follow()
                    for start in range(0, len(wanted), CHUNK):
                        await model.compute(wanted[start : start + CHUNK])
        except StoreUnavailable as error:
            self._outages.warn(error.code, "cannot read the vectors of new items", reason=error.for_log)
            return False
        return True

    def _report(self) -> None:
        held = {version: model.held.position.revision for version, model in self._models.items()}
        waiting = sum(len(model.waiting) for model in self._models.values())
        self._meter.item_vectors(held, waiting, max(0.0, self._clock() - self._current_at))

    async def _in_thread(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - the work's result
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
