"""Reader of the counters of attribution, shared by all requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from service.core.attribution.credits import USER_SHARDS, CounterPage, CounterStore, ShardCounts, parse_counters

VALID_SECONDS = 1.0
MAX_FRACTION = 0.1  # of the time is spent with reading, however many counters there are
_PAGES_AT_ONCE = 8


class CountersReader:
    """Counters of all shards, read at most once a second.

    Args:
        store: Keeps the counters.
        clock: Monotonic seconds.
    """

    def __init__(self, store: CounterStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._read: asyncio.Task[list[ShardCounts]] | None = None
        self._begun_at = self._valid_until = 0.0

    async def read(self) -> list[ShardCounts]:
        """Return the counters of each shard; raises `StoreUnavailable`."""
        now = self._clock()
        if self._read is None or (self._read.done() and (now > self._valid_until or self._failed())):
            self._read, self._begun_at = asyncio.create_task(self._run()), now
            self._read.add_done_callback(_retrieve)
        return await asyncio.shield(self._read)  # a client that disconnects does not cancel it for others

    def _failed(self) -> bool:
        read = self._read
        return read is not None and (read.cancelled() or read.exception() is not None)

    async def _run(self) -> list[ShardCounts]:
        shards = [ShardCounts() for _ in range(USER_SHARDS)]
        left = [CounterPage(shard) for shard in range(USER_SHARDS)]
        while left:
            pages, left = left[:_PAGES_AT_ONCE], left[_PAGES_AT_ONCE:]
            found = await self._store.attribution_counters(pages)
            for page, (counters, cursor) in zip(pages, found, strict=True):
                parse_counters(counters, shards[page.shard])
                if cursor:
                    left.append(CounterPage(page.shard, cursor))
        seconds = self._clock() - self._begun_at
        self._valid_until = self._begun_at + max(VALID_SECONDS, seconds / MAX_FRACTION)
        return shards


def _retrieve(read: asyncio.Task[list[ShardCounts]]) -> None:
    if not read.cancelled():
        read.exception()  # nobody may be waiting any more
