"""Compaction and the local snapshot of a worker's copy of the catalogue."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from numpy.typing import NDArray

from service.core.catalogue.columns.column_snapshot import SnapshotCapture, Span, spans_of
from service.core.catalogue.columns.compaction import InThread
from service.core.catalogue_store import CATALOGUE_SHARDS, CHANGES_KEPT, CatalogueStore, ShardPosition
from service.core.column_snapshots import ColumnSnapshots, SnapshotWriter, StoredColumns
from service.core.jobs.low_priority_thread import lower_thread_priority
from service.core.log_throttle import ThrottledLogger
from service.core.periodic_task import PeriodicTask

_log = logging.getLogger(__name__)

MIN_ITEMS = 100_000  # a smaller catalogue is read from the store within two seconds
STEP_SECONDS = 1.0
CHECK_SECONDS = 30.0  # between two looks at the age of the snapshot
MAX_AGE_SECONDS = 3_600.0  # of a snapshot that lacks changes
MAX_LAG = CHANGES_KEPT // 8  # changes of a shard that a snapshot may lack
_RENEWED_SECONDS = 86_400.0  # a snapshot without changes is written again: files of a week are ignored
_DAMAGED = (KeyError, ValueError, TypeError, IndexError)


class KeptCopy(Protocol):
    """The worker's copy: `core.catalogue.catalogue.Catalogue`."""

    @property
    def item_count(self) -> int:
        """Number of items that are not deleted."""
        ...

    def position(self, shard: int) -> ShardPosition:
        """Return the position up to which a shard's changes are applied."""
        ...

    def capture(self) -> SnapshotCapture:
        """Begin to write a snapshot."""
        ...

    def restore(self, stored: StoredColumns) -> list[Span]:
        """Fill the empty copy; return the positions of each shard."""
        ...

    async def compact(self, in_thread: InThread) -> None:
        """Drop replaced strings, if they are the most."""
        ...


class CatalogueUpkeep:
    """Compacts the columns, and keeps a snapshot for the next start.

    Of several workers one at a time writes the snapshot.
    """

    def __init__(
        self,
        copy: KeptCopy,
        store: CatalogueStore,
        snapshots: ColumnSnapshots | None,
        *,
        min_items: int = MIN_ITEMS,
        check_seconds: float = CHECK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the job without starting it; without `snapshots` none is kept."""
        self._copy = copy
        self._store = store
        self._snapshots = snapshots
        self._min_items = min_items
        self._check_seconds = check_seconds
        self._clock = clock
        self._check_at = clock()
        self._is_closing = False
        self._failures = ThrottledLogger(_log)
        self._executor = ThreadPoolExecutor(1, "catalogue-upkeep", lower_thread_priority)
        self._task = PeriodicTask(
            self.step, _log, "cannot keep the catalogue's columns compact", retry_seconds=STEP_SECONDS
        )

    async def restore(self) -> Mapping[int, Span]:
        """Fill the copy from the snapshot, if the store knows it.

        It must know most positions. Returns the positions of the shards, of which the changes must be applied next.
        Raises `StoreUnavailable`.
        """
        if self._snapshots is None:
            return {}
        began = self._clock()
        described = await asyncio.to_thread(self._snapshots.describe)
        if described is None:
            return {}
        try:
            spans = spans_of(described[0])
            known = [await self._knows(shard, span) for shard, span in enumerate(spans)]
            if len(spans) != CATALOGUE_SHARDS or 2 * sum(known) < len(spans):
                _log.info("ignored the catalogue's snapshot: the store has another history")
                return {}
            stored = await asyncio.to_thread(self._snapshots.load)
            if stored is None:
                return {}
            spans = self._copy.restore(stored)
        except _DAMAGED as error:
            _log.warning("cannot use the catalogue's snapshot; reading the store", extra={"reason": repr(error)})
            return {}
        seconds, age = round(self._clock() - began, 3), round(described[1])
        items = self._copy.item_count
        _log.info("catalogue's snapshot is loaded", extra={"items": items, "age_seconds": age, "seconds": seconds})
        return dict(enumerate(spans))

    def start(self) -> None:
        """Run in the background."""
        self._task.start()

    async def close(self) -> None:
        """Stop; a snapshot that is being written is dropped."""
        self._is_closing = True
        await self._task.close()
        self._executor.shutdown(wait=False)

    async def step(self) -> float:
        """Compact, and write the snapshot if that is due; return the pause."""
        await self._copy.compact(self._in_thread)
        if self._snapshots is not None and self._clock() >= self._check_at:
            self._check_at = self._clock() + self._check_seconds
            if self._copy.item_count >= self._min_items:
                await self._write_if_due(self._snapshots)
        return STEP_SECONDS

    async def _write_if_due(self, snapshots: ColumnSnapshots) -> None:
        if not self._is_due(await self._in_thread(snapshots.describe)):
            return
        began, writer = self._clock(), None
        try:
            writer = await self._in_thread(snapshots.begin)
            if writer is None:
                return  # another worker writes
            capture = self._copy.capture()
            await self._in_thread(partial(self._write, writer, capture))
            if (rest := capture.finish()) is None:
                _log.info("the catalogue changes too fast for a snapshot; trying again")
                return
            torn, description = rest
            await self._in_thread(partial(writer.add, *torn))
            size = await self._in_thread(partial(writer.finish, description))
            seconds = round(self._clock() - began, 3)
            _log.info("catalogue's snapshot is written", extra={"bytes": size, "seconds": seconds})
        except OSError as error:
            self._failures.warn("snapshot", "cannot write the catalogue's snapshot", reason=str(error))
        finally:
            if writer is not None:
                await self._in_thread(writer.close)

    def _write(self, writer: SnapshotWriter, capture: SnapshotCapture) -> None:
        for name, dtype, parts in capture.arrays():
            writer.add(name, dtype, self._until_closing(parts))

    def _until_closing(self, parts: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """Yield the parts; raises `OSError` when the job closes."""
        for part in parts:
            if self._is_closing:
                raise OSError("the service stops")
            yield part

    def _is_due(self, described: tuple[Mapping[str, Any], float] | None) -> bool:
        if described is None:
            return True
        try:
            stored = [span.last for span in spans_of(described[0])]
        except _DAMAGED:
            return True
        present, age = list(map(self._copy.position, range(CATALOGUE_SHARDS))), described[1]
        if stored == present or len(stored) != len(present):
            return age > _RENEWED_SECONDS or stored != present
        lags = [new.revision - old.revision for new, old in zip(present, stored, strict=True)]
        return age > MAX_AGE_SECONDS or max(lags) > MAX_LAG or min(lags) < 0

    async def _knows(self, shard: int, span: Span) -> bool:
        for position in {span.first, span.last}:
            if await self._store.changes(shard, position, 1) is None:
                return False
        return True

    async def _in_thread(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - the work's result
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
