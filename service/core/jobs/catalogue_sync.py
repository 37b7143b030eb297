"""Keeps one worker's copy of the catalogue current."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from typing import Protocol

from service.core.catalogue.columns.column_snapshot import Span
from service.core.catalogue.editing.known_definitions import KnownDefinitions
from service.core.catalogue_store import CATALOGUE_SHARDS, CatalogueStore, ShardPosition
from service.core.errors import StoreUnavailable
from service.core.jobs.catalogue_shard_reader import CatalogueCopy, ShardReader
from service.core.periodic_task import PeriodicTask

_log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
COUNT_SECONDS = 5.0
PAGE_ITEMS = 64  # applied at once: a millisecond of the event loop
_LOADED_AT_ONCE = 4  # shards, at the start
_FOLLOWED_AT_ONCE = 4  # shards whose pages may be applied in one iteration of the event loop
_OWN_PAGES = 4  # that a writer waits for; a copy that is further behind gets the rest with the next polls


class CatalogueMeter(Protocol):
    """Metrics of the copy."""

    def changes_applied(self, count: int) -> None:
        """Count items that were changed in the copy."""
        ...

    def shard_read_again(self) -> None:
        """Count a shard whose changes could not be followed."""
        ...

    def catalogue_state(self, age_seconds: float, lag: int) -> None:
        """Record the age of the copy, and how many changes it lacks."""
        ...

    def catalogue_items(self, count: int) -> None:
        """Record the number of items."""
        ...


class CatalogueSync:
    """Reads the whole catalogue at the start, then its changes.

    While a shard cannot be read, the copy stays at the revision that it has.
    """

    def __init__(
        self,
        store: CatalogueStore,
        copy: CatalogueCopy,
        definitions: KnownDefinitions,
        meter: CatalogueMeter,
        *,
        restore: Callable[[], Awaitable[Mapping[int, Span]]] | None = None,
        poll_seconds: float = POLL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the job without starting it.

        `restore` fills the empty copy from a snapshot, and returns the positions of its shards.
        """
        self._store = store
        self._restore = restore
        self._copy = copy
        self._definitions = definitions
        self._meter = meter
        self._reader = ShardReader(store, copy)
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._current_at = [clock()] * (CATALOGUE_SHARDS + 1)
        self._counted_at = float("-inf")
        self._rereading: dict[int, asyncio.Task[None]] = {}
        self._one_page = asyncio.Lock()
        self._one_reread = asyncio.Lock()  # bounds the memory for items that were read and not applied
        self._task = PeriodicTask(
            self.poll,
            _log,
            "cannot read the catalogue; still answering at its last revision",
            retry_seconds=poll_seconds,
            first_delay_seconds=poll_seconds,
        )

    @property
    def age_seconds(self) -> float:
        """Seconds since the whole copy was known to be current."""
        return max(0.0, self._clock() - min(self._current_at))

    async def start(self) -> None:
        """Read the whole catalogue, then follow it in the background.

        Raises `StoreUnavailable` if a part of it cannot be read.
        """
        began = self._clock()
        await self._definitions.refresh()
        restored = {} if self._restore is None else await self._restore()
        if restored or any(getattr(position, "revision", 0) for position in await self._store.positions()):
            await self._copy.prepare()
        slots = asyncio.Semaphore(_LOADED_AT_ONCE)

        async def load(shard: int) -> None:
            async with slots:
                if shard in restored:
                    await self._reader.resume(shard, restored[shard].last)
                else:
                    await self._reader.load(shard)

        try:
            async with asyncio.TaskGroup() as loading:
                for shard in range(CATALOGUE_SHARDS):
                    loading.create_task(load(shard))
        except* StoreUnavailable as group:
            failures = group.exceptions
        else:
            failures = ()
        if failures:
            raise failures[0]
        await self.poll()
        seconds = round(self._clock() - began, 3)
        _log.info("read the catalogue", extra={"items": self._copy.item_count, "seconds": seconds})
        self._task.start()

    async def close(self) -> None:
        """Stop following."""
        await self._task.close()
        for task in self._rereading.values():
            task.cancel()
        await asyncio.gather(*self._rereading.values(), return_exceptions=True)

    async def include(self, written: Mapping[int, ShardPosition]) -> None:
        """Apply changes until the copy has these positions of shards.

        The next answer of this worker then knows what the worker has written. If many other changes are before, or
        the store fails, the changes are applied later, as those of other workers are.
        """
        behind = [shard for shard, position in written.items() if self._is_behind(shard, position)]
        if behind:
            await self._copy.prepare()
        for _ in range(_OWN_PAGES):
            behind = [shard for shard in behind if self._is_behind(shard, written[shard])]
            for start in range(0, len(behind), _FOLLOWED_AT_ONCE):
                together = map(self._follow, behind[start : start + _FOLLOWED_AT_ONCE])
                await asyncio.gather(*together, return_exceptions=True)  # the next poll reports what fails

    def _is_behind(self, shard: int, position: ShardPosition) -> bool:
        return shard not in self._rereading and self._copy.position(shard).revision < position.revision

    async def poll(self) -> float:
        """Apply one page of each shard's changes; return the pause after it.

        Raises `StoreUnavailable` if a shard cannot be read; the others are up to date then.
        """
        asked_at = self._clock()
        *shards, definitions = await self._store.positions()
        more, lag, failures = await self._follow_all(shards, asked_at)
        try:
            if isinstance(definitions, StoreUnavailable):
                raise definitions
            if definitions != self._definitions.current.position:
                await self._definitions.refresh()
            self._current_at[-1] = asked_at
        except StoreUnavailable as error:
            failures.append(error)
        self._report(lag)
        if failures:
            raise failures[0]
        return 0.0 if more else self._poll_seconds

    async def _follow_all(
        self, newest: Sequence[ShardPosition | StoreUnavailable], asked_at: float
    ) -> tuple[bool, int, list[StoreUnavailable]]:
        """Apply a page of each shard's changes.

        Returns whether more are left, how many the copy lacks, and the failures.
        """
        failures = [position for position in newest if isinstance(position, StoreUnavailable)]
        behind: dict[int, ShardPosition] = {}
        for shard, position in enumerate(newest):
            if isinstance(position, StoreUnavailable) or shard in self._rereading:
                continue
            if position == self._copy.position(shard):
                self._current_at[shard] = asked_at
            else:
                behind[shard] = position
        if behind:
            await self._copy.prepare()
        # Some at once: on a busy event loop each round trip takes long, and a change may be in any shard.
        outcomes: list[bool | BaseException] = []
        shards = list(behind)
        for start in range(0, len(shards), _FOLLOWED_AT_ONCE):
            together = map(self._follow, shards[start : start + _FOLLOWED_AT_ONCE])
            outcomes += await asyncio.gather(*together, return_exceptions=True)
        more, lag = False, 0
        for (shard, position), outcome in zip(behind.items(), outcomes, strict=True):
            if isinstance(outcome, StoreUnavailable):
                failures.append(outcome)
                continue
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome:
                self._current_at[shard] = asked_at
            more |= not outcome
            lag += max(0, position.revision - self._copy.position(shard).revision)
        return more, lag, failures

    async def _follow(self, shard: int) -> bool:
        """Apply a page of changes; return whether none is left."""
        found = await self._store.changes(shard, self._copy.position(shard), PAGE_ITEMS)
        if found is None:
            if shard not in self._rereading:
                task = asyncio.create_task(self._reread_in_background(shard), context=Context())
                self._rereading[shard] = task
            return False
        # The shards' answers arrive together; each is applied in an iteration of its own of the event loop.
        async with self._one_page:
            if shard in self._rereading:  # another call has found out that the history is another one
                return False
            self._copy.apply(shard, found.position, found.items, is_newest=not found.more)
            await asyncio.sleep(0)
        self._meter.changes_applied(len(found.items))
        return not found.more

    async def _reread_in_background(self, shard: int) -> None:
        try:
            async with self._one_reread:
                _log.warning("catalogue shard has another history; reading it again", extra={"shard": shard})
                await self._reader.reread(shard)
            self._meter.shard_read_again()
        except StoreUnavailable as error:
            _log.warning("cannot read a catalogue shard again", extra={"shard": shard, "reason": error.for_log})
        except Exception:
            _log.exception("cannot read a catalogue shard again")
        finally:
            del self._rereading[shard]

    def _report(self, lag: int) -> None:
        now = self._clock()
        self._meter.catalogue_state(self.age_seconds, lag)
        if now - self._counted_at >= COUNT_SECONDS:
            self._counted_at = now
            self._meter.catalogue_items(self._copy.item_count)
