"""Compiled filters of one worker, bounded in bytes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import partial
from typing import Any, TypeVar

from service.core.catalogue.filter_bitmaps.compiled_filter import CompiledFilter
from service.core.errors import Overloaded

MAX_COMPILING = 64
_MAX_ATTEMPTS = 3
_NO_BOUND = 1 << 62

Result = TypeVar("Result")


class NotCached(Enum):
    """Type of `NOT_CACHED`: a filter is not compiled, or too far behind."""

    NOT_CACHED = "not cached"


NOT_CACHED = NotCached.NOT_CACHED


class FilterCache:
    """Least recently used filters are dropped first.

    Attributes:
        evaluated_at: The time of now() in the filter that was returned last, in microseconds.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], int]) -> None:
        """Create an empty cache.

        Args:
            max_bytes: bound of all compiled filters together.
            clock: the time in microseconds.
        """
        self._max_bytes = max_bytes
        self.clock = clock
        self.evaluated_at = 0
        self._filters: OrderedDict[Hashable, CompiledFilter] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}
        self._compiling: dict[Hashable, asyncio.Task[CompiledFilter]] = {}
        self._thread = ThreadPoolExecutor(1, "filters")

    def __len__(self) -> int:
        return len(self._filters)

    @property
    def nbytes(self) -> int:
        """Bytes of memory of all compiled filters."""
        return sum(self._sizes.values())

    def current(self, key: Hashable) -> CompiledFilter | None:
        """Return the filter, up to date; None if that takes a compilation."""
        found, now = self._filters.get(key), self.clock()
        if found is None or not found.catch_up(now):
            return None
        self._filters.move_to_end(key)
        self.evaluated_at = now
        return found

    async def compiled(self, key: Hashable, prepare: Callable[[], CompiledFilter]) -> CompiledFilter:
        """Return the filter, up to date at the return.

        Args:
            key: its identity.
            prepare: creates the filter, on the event loop and cheaply.
        """
        for attempt in range(_MAX_ATTEMPTS):
            if found := self.current(key):
                return found
            compiled = await self._compile(key, prepare)
            now = self.clock()
            # If more changes arrive than can be followed otherwise, the last attempt takes the time.
            if compiled.catch_up(now, *([_NO_BOUND] if attempt == _MAX_ATTEMPTS - 1 else [])):
                self.evaluated_at = now
                return compiled
        raise Overloaded("the catalogue changes faster than the filter can follow; try again")

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        """Run work in the thread that compiles."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def drop(self, is_stale: Callable[[Any], bool]) -> None:
        """Drop filters by their keys."""
        for key in [key for key in self._filters if is_stale(key)]:
            del self._filters[key], self._sizes[key]

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _compile(self, key: Hashable, prepare: Callable[[], CompiledFilter]) -> CompiledFilter:
        task = self._compiling.get(key)
        if task is None:
            if len(self._compiling) >= MAX_COMPILING:
                raise Overloaded("too many new filters at once; try again")
            task = self._compiling[key] = asyncio.create_task(self._run(key, prepare))
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)  # others may wait for it too

    async def _run(self, key: Hashable, prepare: Callable[[], CompiledFilter]) -> CompiledFilter:
        try:
            compiled = self._filters.get(key) or prepare()
            evaluation = compiled.start(self.clock())
            await self.in_thread(partial(compiled.evaluate, evaluation))
            compiled.finish(evaluation)
        finally:
            del self._compiling[key]
        self._put(key, compiled)
        return compiled

    def _put(self, key: Hashable, compiled: CompiledFilter) -> None:
        self._filters[key], self._sizes[key] = compiled, compiled.nbytes
        self._filters.move_to_end(key)
        while self.nbytes > self._max_bytes and len(self._filters) > 1:
            dropped, _ = self._filters.popitem(last=False)
            del self._sizes[dropped]


def _retrieve(task: asyncio.Task[CompiledFilter]) -> None:
    """Take the exception of a task, if nobody waits for it."""
    if not task.cancelled():
        task.exception()
