"""Filter bitmaps of one worker, bounded in bytes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import partial
from typing import Any, TypeVar

from service.core.catalogue.filter_bitmaps.filter_bitmap import FilterBitmap
from service.core.errors import Overloaded

MAX_COMPILING = 64
_MAX_ATTEMPTS = 3
_NO_BOUND = 1 << 62

Result = TypeVar("Result")


class NotCached(Enum):
    """Type of `NOT_CACHED`: no bitmap, or one too far behind."""

    NOT_CACHED = "not cached"


NOT_CACHED = NotCached.NOT_CACHED


class FilterCache:
    """Filter bitmaps; the least recently used go first.

    Attributes:
        evaluated_at: The time of now() in the bitmap that was returned last, in microseconds.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], int]) -> None:
        """Create an empty cache.

        Args:
            max_bytes: bound of all bitmaps together.
            clock: the time in microseconds.
        """
        self._max_bytes = max_bytes
        self.clock = clock
        self.evaluated_at = 0
        self._bitmaps: OrderedDict[Hashable, FilterBitmap] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}
        self._compiling: dict[Hashable, asyncio.Task[FilterBitmap]] = {}
        self._thread = ThreadPoolExecutor(1, "filters")

    def __len__(self) -> int:
        return len(self._bitmaps)

    @property
    def nbytes(self) -> int:
        """Bytes of memory of all bitmaps."""
        return sum(self._sizes.values())

    def current(self, key: Hashable) -> FilterBitmap | None:
        """Return the bitmap, up to date; None if that takes a compilation."""
        found, now = self._bitmaps.get(key), self.clock()
        if found is None or not found.catch_up(now):
            return None
        self._bitmaps.move_to_end(key)
        self.evaluated_at = now
        return found

    async def get_or_compile(self, key: Hashable, prepare: Callable[[], FilterBitmap]) -> FilterBitmap:
        """Return the bitmap, up to date at the return.

        Args:
            key: its identity.
            prepare: creates the bitmap, on the event loop and cheaply.
        """
        for attempt in range(_MAX_ATTEMPTS):
            if found := self.current(key):
                return found
            bitmap = await self._compile(key, prepare)
            now = self.clock()
            # If more changes arrive than can be followed otherwise, the last attempt takes the time.
            if bitmap.catch_up(now, *([_NO_BOUND] if attempt == _MAX_ATTEMPTS - 1 else [])):
                self.evaluated_at = now
                return bitmap
        raise Overloaded("the catalogue changes faster than the filter can follow; try again")

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        """Run work in the thread that compiles."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def drop(self, is_stale: Callable[[Any], bool]) -> None:
        """Drop bitmaps by their keys."""
        for key in [key for key in self._bitmaps if is_stale(key)]:
            del self._bitmaps[key], self._sizes[key]

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _compile(self, key: Hashable, prepare: Callable[[], FilterBitmap]) -> FilterBitmap:
        task = self._compiling.get(key)
        if task is None:
            if len(self._compiling) >= MAX_COMPILING:
                raise Overloaded("too many new filters at once; try again")
            task = self._compiling[key] = asyncio.create_task(self._run(key, prepare))
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)  # others may wait for it too

    async def _run(self, key: Hashable, prepare: Callable[[], FilterBitmap]) -> FilterBitmap:
        try:
            bitmap = self._bitmaps.get(key) or prepare()
            evaluation = bitmap.start(self.clock())
            await self.in_thread(partial(bitmap.evaluate, evaluation))
            bitmap.finish(evaluation)
        finally:
            del self._compiling[key]
        self._put(key, bitmap)
        return bitmap

    def _put(self, key: Hashable, bitmap: FilterBitmap) -> None:
        self._bitmaps[key], self._sizes[key] = bitmap, bitmap.nbytes
        self._bitmaps.move_to_end(key)
        while self.nbytes > self._max_bytes and len(self._bitmaps) > 1:
            dropped, _ = self._bitmaps.popitem(last=False)
            del self._sizes[dropped]


def _retrieve(task: asyncio.Task[FilterBitmap]) -> None:
    """Take the exception of a task, if nobody waits for it."""
    if not task.cancelled():
        task.exception()
